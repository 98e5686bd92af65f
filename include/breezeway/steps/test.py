"""Evaluate a registered model version and the champion on recent raw readings.

Without a query they are those of the dataset that the version was trained on, and are not read
again. Only readings that neither model was trained on count. With labels there are metrics, and an
interval of the difference; without labels in the contract, the alarms beside what is promised. In
any case a drift report compares the readings with the training data. All of it is logged to MLflow;
the evidence for the gate is a tag of the version.

Example:
  python -m breezeway.steps.test --model-name plant --model-version 7
"""

import argparse
from typing import Any

from breezeway.core.arguments import model_name, model_version
from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step
from breezeway.tracking import registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--query",
        default="",
        help="one SELECT of recent readings, with the same columns as for preprocess",
    )
    parser.add_argument("--model-name", type=model_name, required=True, help="the registered model")
    parser.add_argument(
        "--model-version",
        type=model_version,
        required=True,
        help="its version: a number or an alias",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    version = registry.resolve_version(settings, arguments.model_name, arguments.model_version)
    from breezeway.pipeline import (
        evaluation,  # two seconds, so check for the version first
    )

    return evaluation.judge(arguments.query, arguments.model_name, version, settings)


if __name__ == "__main__":
    run_step("test", __doc__, add_arguments, run)
