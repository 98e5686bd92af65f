"""Backtest several dates, one after the other.

With `--dry-run`, show only the dates, how many rows they read, and how long it takes.

Examples:
  breezeway backtest --first 2026-09-07 --last 2026-11-02 --dry-run
  breezeway backtest --first 2026-09-07 --last 2026-11-02 --every 14
"""

import argparse
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import day
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline import backtest_plan
from breezeway.pipeline.backtest import PERIOD_DAYS, judge
from breezeway.pipeline.periods import MAX_DAYS, refuse_unfinished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=day, required=True, help="first date")
    parser.add_argument("--last", type=day, required=True, help="last date at most")
    parser.add_argument(
        "--every", type=int, default=PERIOD_DAYS, help="days between dates (%(default)s)"
    )
    parser.add_argument(
        "--days", type=int, default=PERIOD_DAYS, help="days to evaluate each on (%(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show only dates, rows and time")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """The plan, or the plan with the metrics of each date.

    Raises:
        UsageError: a number is below 1 or too large, there is no date, the days of one are not
            over, or a day is not made yet.
        BreezewayError: as for `judge`.
    """
    for name, days in (("--every", arguments.every), ("--days", arguments.days)):
        if not 1 <= days <= MAX_DAYS:
            raise UsageError(f"{name} {days}: expected 1 to {MAX_DAYS}.")
    step = timedelta(days=arguments.every)
    count = (arguments.last - arguments.first) // step + 1
    dates = [arguments.first + n * step for n in range(count)]
    if not dates:
        raise UsageError(f"--last {arguments.last} is before --first {arguments.first}.")
    if arguments.dry_run:
        return backtest_plan.plan(settings, dates, arguments.days)
    contract = load_contract(settings.sensors)
    # Not after hours of work on the others.
    refuse_unfinished(dates[-1], arguments.days, contract.zone)
    return {"dates": [asdict(judge(settings, contract, each, arguments.days)) for each in dates]}
