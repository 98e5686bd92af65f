"""Judge a registered model version on recent raw readings, beside the champion.

Only readings that neither model was trained on are judged. With labels there are scores and an
interval of the difference; with or without, a drift report compares the readings with the
training data. All of it is kept in MLflow; the evidence that the gate decides on is a tag of
the version.
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
        required=True,
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
        evaluation,  # takes two seconds: a version that is not there is said before
    )

    return evaluation.judge(arguments.query, arguments.model_name, version, settings)


if __name__ == "__main__":
    run_step("test", __doc__, add_arguments, run)
