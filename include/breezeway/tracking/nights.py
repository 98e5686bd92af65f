"""The nightly checks that MLflow has recorded: of which nights, by which version, how they went."""

from collections.abc import Iterable
from dataclasses import field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from breezeway.core.days import day_end
from breezeway.core.settings import Settings
from breezeway.tracking import past_runs, rest

LATELY_DAYS = 60
"""The page Reports shows the last night of models that were checked since then."""


@dataclass(frozen=True)
class Absent:
    """What is missing: nights that nobody checked, days that history has not published, and days of
    longer ago with readings that came after they were made."""

    nights: list[date]
    days: list[date]
    late: list[date] = field(default_factory=list)


_ABSENT = TypeAdapter(Absent)


@dataclass(frozen=True)
class CheckedNight:
    """The newest check of a night.

    Args:
        model_name, version: that judged.
        seconds: how long it took; None if MLflow has no times that can be.
        airflow_run: `dag_id/run_id`; empty if the check ran without Airflow.
        absent: what was missing before this night.
    """

    night: date
    model_name: str
    version: str
    verdict: str
    seconds: float | None
    airflow_run: str
    absent: Absent

    @property
    def dag_id(self) -> str:
        return self.airflow_run.partition("/")[0]


def absent_tag(absent: Absent) -> dict[str, str]:
    """The tag with which a check records what was missing."""
    return {"absent": _ABSENT.dump_json(absent).decode()}


def checked_nights(
    settings: Settings, model_name: str, since: tuple[date, ZoneInfo] | None = None
) -> dict[date, CheckedNight]:
    """The nights that were checked to the end, in their order.

    Args:
        since: only nights from this one on, of a zone.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    condition = f"tags.`breezeway.step` = 'drift' and tags.`breezeway.model` LIKE '{model_name}/%'"
    if since:
        # None begins before its night has ended.
        condition += f" and {_started_after(day_end(*since))}"
    found = {
        check.night: check
        for check in _in_order(past_runs.search(settings, condition))
        # In a pattern of the filter language `_` stands for any character.
        if check.model_name == model_name and (since is None or check.night >= since[0])
    }
    return dict(sorted(found.items()))


def last_nights(settings: Settings) -> list[CheckedNight]:
    """The last night of each model that was checked lately.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    newest: dict[str, CheckedNight] = {}
    for check in lately(settings):
        known = newest.get(check.model_name)
        if not known or check.night >= known.night:
            newest[check.model_name] = check
    return [newest[name] for name in sorted(newest)]


def lately(settings: Settings) -> list[CheckedNight]:
    """The last checks of any model, at most `past_runs.PAGE`, in the order in which they began.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    since = datetime.now(UTC) - timedelta(days=LATELY_DAYS)
    condition = f"tags.`breezeway.step` = 'drift' and {_started_after(since)}"
    return _in_order(islice(past_runs.search(settings, condition), past_runs.PAGE))


def _started_after(moment: datetime) -> str:
    return f"attributes.start_time >= {int(moment.timestamp() * 1000)}"


def _in_order(runs: Iterable[dict[str, Any]]) -> list[CheckedNight]:
    """Runs as checks, in the order in which they began; what is none of ours is left out."""
    began = sorted(runs, key=lambda run: int(run["info"].get("start_time", 0)))
    return [check for run in began if (check := _check_of(run))]


def _check_of(run: dict[str, Any]) -> CheckedNight | None:
    tags, info = rest.tags(run["data"]), run["info"]
    name, _, version = tags.get("breezeway.model", "").rpartition("/")
    try:
        night = date.fromisoformat(tags.get("breezeway.date", ""))
        absent = _ABSENT.validate_json(tags.get("breezeway.absent", '{"nights": [], "days": []}'))
    except (ValueError, ValidationError):
        return None  # somebody changed a tag by hand
    start, end = rest.moment(info.get("start_time")), rest.moment(info.get("end_time"))
    return CheckedNight(
        night=night,
        model_name=name,
        version=version,
        verdict=tags.get("breezeway.verdict", ""),
        seconds=(end - start).total_seconds() if start and end else None,
        airflow_run=tags.get("breezeway.airflow_run", ""),
        absent=absent,
    )
