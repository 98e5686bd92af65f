"""Train as of a date and judge on the days that follow, as it would have been then.

The figures of the date are an MLflow run; in it lie table and picture of all dates so far that
were judged on as many days.
"""

import argparse
from datetime import date
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import positive_count
from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step
from breezeway.tracking import mlflow_client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--date", type=date.fromisoformat, required=True, help="YYYY-MM-DD, UTC")
    parser.add_argument(
        "--days",
        type=positive_count,
        help="days from the date on that the model is judged on (7)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    mlflow_client.check(settings)
    load_contract(settings.sensors)
    from breezeway.pipeline import backtest_report  # two seconds: what is wrong is said before

    return backtest_report.backtest(settings, arguments.date, arguments.days)


if __name__ == "__main__":
    run_step("backtest", __doc__, add_arguments, run)
