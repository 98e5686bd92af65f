"""Train a model on a dataset version and register it in MLflow.

The parameters are those tuned for the dataset version, or sensible defaults. Figures and the
alarm threshold come from rows that the scoring model did not see; the registered model is then
fitted on all rows that the contract doesn't keep back. The same dataset version and parameters
give the same model, byte for byte; training it again under the same run name returns the
version that is registered already.
"""

import argparse
from typing import Any

from breezeway.core.arguments import model_name, run_name, tag_name
from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step
from breezeway.tracking import mlflow_client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tag", type=tag_name, required=True, help="the dataset version, or its parameters' tag"
    )
    parser.add_argument(
        "--run-name", type=run_name, required=True, help="what the run is called in MLflow"
    )
    parser.add_argument(
        "--model-name",
        type=model_name,
        help="the registered model that gets a new version; the contract's name if not given",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    mlflow_client.check(settings)
    from breezeway.pipeline import training  # two seconds: a server that is away is said before

    return training.train(settings, arguments.tag, arguments.run_name, arguments.model_name)


if __name__ == "__main__":
    run_step("train", __doc__, add_arguments, run)
