"""Train a model on a dataset version and register it in MLflow.

The parameters are those tuned for the dataset version, or defaults. The boosting rounds are among
them: those after which the folds of the search were scored best, so nothing is left to stop early.
Metrics and alarm threshold are cross-fitted: they come from scores of models that did not see the
row. Without labels in the contract all rows count as normal, the threshold keeps to a promised rate
of false alarms, and the metrics are the alarms on held-out rows. The registered model is then
fitted on all rows that the contract does not hold out. The same dataset version and parameters give
the same model, byte for byte. A second training with the same run name returns the version that is
registered already.

Example:
  python -m breezeway.steps.train --tag v12 --run-name v12
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
        "--run-name", type=run_name, required=True, help="the name of the run in MLflow"
    )
    parser.add_argument(
        "--model-name",
        type=model_name,
        help="the registered model that gets a new version; the contract's name if not given",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    mlflow_client.check(settings)
    from breezeway.pipeline import training  # two seconds, so check MLflow first

    return training.train(settings, arguments.tag, arguments.run_name, arguments.model_name)


if __name__ == "__main__":
    run_step("train", __doc__, add_arguments, run)
