"""Compare the readings of a day with those that the model in service was trained on.

One report in MLflow shows readings that break the sensor contract, sensor faults, changes of
features and scores and, if there are labels, false alarms. A change is confirmed if it is found on
that day and was found on earlier days too, as the contract's section `[drift]` says. The earlier
days are judged again from their readings, so any day can be checked, in any order, any number of
times. The model that judges a day is the one that was in service when the day ended. Where that is
not known, the result says which one judged instead, and why.

Example:
  python -m breezeway.steps.drift --model-name plant --date 2026-11-20
"""

import argparse
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import day, model_name
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline.in_service import find_judge
from breezeway.steps.runner import run_step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model-name", type=model_name, required=True, help="the registered model")
    parser.add_argument(
        "--date",
        type=day,
        required=True,
        metavar="YYYY-MM-DD",
        help="the day whose readings are checked",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    judge = find_judge(settings, arguments.model_name, arguments.date)
    if judge is None:
        raise UsageError(
            f"--model-name: {arguments.model_name!r} has no champion to compare readings with."
        )
    # Two seconds, so check for a champion first.
    from breezeway.pipeline import nightly
    from breezeway.readings.label_store import LabelStore

    result = nightly.check(arguments.model_name, judge, arguments.date, settings)
    labels = LabelStore(settings.raw_address).labels_of(load_contract(settings.sensors))
    return result | ({} if labels is None else {"labels": len(labels)})


if __name__ == "__main__":
    run_step("drift", __doc__, add_arguments, run)
