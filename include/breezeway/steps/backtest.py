"""Train a model as of a past date, and evaluate it on the days that followed.

The metrics of the date are logged to an MLflow run, with a table and a plot of all dates so far
that were evaluated on the same number of days.

Example:
  python -m breezeway.steps.backtest --date 2026-09-07
"""

import argparse
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import day, positive_count
from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step
from breezeway.tracking import mlflow_client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--date", type=day, required=True, help="YYYY-MM-DD")
    parser.add_argument(
        "--days",
        type=positive_count,
        help="days from the date on to evaluate the model on (7)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    mlflow_client.check(settings)
    load_contract(settings.sensors)
    from breezeway.pipeline import backtest_report  # two seconds, so check the arguments first

    return backtest_report.backtest(settings, arguments.date, arguments.days)


if __name__ == "__main__":
    run_step("backtest", __doc__, add_arguments, run)
