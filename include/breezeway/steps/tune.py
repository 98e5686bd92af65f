"""Search for the model parameters that find the most events in a dataset version.

A trial is one set of XGBoost parameters, evaluated by average precision on rows that its models did
not see: later ones, or other devices, as the contract's `split` says. Optuna suggests trials,
several run at a time, and bad ones are pruned. They run in threads, or on the Ray cluster of
`RAY_ADDRESS`. The same tag and count give the same parameters.

Without labels in the contract nothing is searched for, and `params.json` alone is written: the
first family with its defaults.

The work folder of the tag gets `params.json`, `tuning.json` with every trial, and `tuning.png`.
They are logged to an MLflow run too. The next task publishes the parameters on top of the dataset
version.

Example:
  python -m breezeway.steps.tune --tag v12 --count 20
"""

import argparse
from pathlib import Path
from typing import Any

from breezeway.core.arguments import positive_count, tag_name
from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step
from breezeway.tracking import mlflow_client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tag", type=tag_name, required=True, help="the dataset version to tune for"
    )
    parser.add_argument(
        "--count",
        type=positive_count,
        required=True,
        help="sets of parameters to try; the first is the defaults",
    )
    parser.add_argument("--output", type=Path, help="write the parameters to this file too")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    mlflow_client.check(settings)
    from breezeway.pipeline import tuning  # three seconds, so check MLflow first

    return tuning.tune(settings, arguments.tag, arguments.count, arguments.output)


if __name__ == "__main__":
    run_step("tune", __doc__, add_arguments, run)
