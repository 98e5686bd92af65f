"""What a backtest of several dates would read, and how long it would take."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.days import today
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.pipeline.backtest import FIRST_DAY
from breezeway.readings.store import open_store
from breezeway.tracking import mlflow_client


def plan(settings: Settings, dates: Sequence[date], period_days: int) -> dict[str, Any]:
    """What a backtest of some dates would read, and how long it would take."""
    contract = load_contract(settings.sensors)
    counts = open_store(settings).count_by_day(
        FIRST_DAY, max(dates) + timedelta(days=period_days), contract.zone
    )
    made = history.published_days(settings, contract.name)
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
                "over": until <= today(contract.zone),
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
