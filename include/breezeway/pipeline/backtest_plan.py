"""Backtest several dates, one after the other.

With `--dry-run`, show only the dates, how many rows they read, and how long it takes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.pipeline.backtest import FIRST_DAY, PERIOD_DAYS, judge
from breezeway.readings.store import RawStore
from breezeway.tracking import mlflow_client


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=date.fromisoformat, required=True, help="first date")
    parser.add_argument("--last", type=date.fromisoformat, required=True, help="last date at most")
    parser.add_argument("--every", type=int, default=PERIOD_DAYS, help="days between dates (7)")
    parser.add_argument(
        "--days", type=int, default=PERIOD_DAYS, help="days to evaluate each on (7)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show only dates, rows and time")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """The plan, or the plan with the metrics of each date.

    Raises:
        UsageError: a number is below 1, there is no date, or a day is not made yet.
        BreezewayError: as for `judge`.
    """
    if arguments.every < 1 or arguments.days < 1:
        raise UsageError("--every and --days: expected at least 1.")
    step = timedelta(days=arguments.every)
    count = (arguments.last - arguments.first) // step + 1
    dates = [arguments.first + n * step for n in range(count)]
    if not dates:
        raise UsageError(f"--last {arguments.last} is before --first {arguments.first}.")
    if arguments.dry_run:
        return plan(settings, dates, arguments.days)
    contract = load_contract(settings.sensors)
    return {"dates": [asdict(judge(settings, contract, each, arguments.days)) for each in dates]}


def plan(settings: Settings, dates: Sequence[date], period_days: int) -> dict[str, Any]:
    """What a backtest of some dates would read, and how long it would take."""
    counts = RawStore(settings.raw_address).count_by_day(
        FIRST_DAY, max(dates) + timedelta(days=period_days)
    )
    made = history.published_days(settings, load_contract(settings.sensors).name)
    listed, rows = [], 0
    for moment in dates:
        until = moment + timedelta(days=period_days)
        known = sum(n for day, n in counts.items() if day < moment)
        judged = sum(n for day, n in counts.items() if moment <= day < until)
        rows += known + judged
        listed.append(
            {
                "date": moment.isoformat(),
                "known_rows": known,
                "judged_rows": judged,
                "days_to_make": sum(day not in made for day in counts if day < until),
                "over": until <= datetime.now(UTC).date(),
            }
        )
    return {"dates": listed, "rows": rows, **history.estimate(rows, _rate(settings))}


def _rate(settings: Settings) -> float | None:
    """Rows per second of the backtests in MLflow; None if there are none."""
    client = mlflow_client.client(settings)
    with mlflow_client.errors(settings):
        runs = client.search_runs(
            [each.experiment_id for each in client.search_experiments()],
            "tags.`breezeway.step` = 'backtest' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=20,
        )
    seconds = sum(run.data.metrics.get("seconds", 0) for run in runs)
    rows = sum(run.data.metrics.get("rows_read", 0) for run in runs)
    return rows / seconds if seconds else None
