"""The nightly checks that MLflow has recorded: of which nights, by which version, how they went."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from breezeway.core.settings import Settings
from breezeway.tracking import past_runs, rest


@dataclass(frozen=True)
class CheckedNight:
    """The newest check of a night.

    Args:
        version: of the model that judged.
        seconds: how long it took; None if MLflow has no times that can be.
        airflow_run: `dag_id/run_id`; empty if the check ran without Airflow.
        absent: JSON of the nights and days that were absent then; empty if none is recorded.
    """

    night: date
    version: str
    verdict: str
    seconds: float | None
    airflow_run: str
    absent: str


def checked_nights(
    settings: Settings, model_name: str, since: date | None = None
) -> dict[date, CheckedNight]:
    """The nights that were checked to the end, in their order.

    Args:
        since: only nights from this one on.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    condition = f"tags.`breezeway.step` = 'drift' and tags.`breezeway.model` LIKE '{model_name}/%'"
    if since:
        # No night is checked before it has ended.
        end = datetime.combine(since + timedelta(days=1), time(tzinfo=UTC))
        condition += f" and attributes.start_time >= {int(end.timestamp() * 1000)}"
    runs = sorted(
        past_runs.search(settings, condition), key=lambda run: int(run["info"].get("start_time", 0))
    )
    found: dict[date, CheckedNight] = {}
    for run in runs:
        tags = rest.tags(run["data"])
        name, _, version = tags["breezeway.model"].rpartition("/")
        try:
            night = date.fromisoformat(tags.get("breezeway.date", ""))
        except ValueError:
            continue  # somebody changed the tag by hand
        # In a pattern of the filter language `_` stands for any character.
        if name == model_name and (since is None or night >= since):
            found[night] = CheckedNight(
                night=night,
                version=version,
                verdict=tags.get("breezeway.verdict", ""),
                seconds=_seconds(run["info"]),
                airflow_run=tags.get("breezeway.airflow_run", ""),
                absent=tags.get("breezeway.absent", ""),
            )
    return dict(sorted(found.items()))


def _seconds(info: dict[str, Any]) -> float | None:
    start, end = rest.moment(info.get("start_time")), rest.moment(info.get("end_time"))
    return (end - start).total_seconds() if start and end else None
