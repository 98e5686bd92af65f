"""What is missing before a night, by a real MLflow, a real repository and a raw store."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from sqlalchemy import text

from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.pipeline.gaps import find_absent
from breezeway.readings.store import RawStore
from breezeway.tracking import nights, rest
from breezeway.tracking.nights import Absent
from tests.fixtures.readings import midnight

NIGHT = date(2026, 6, 20)


def ago(days: int) -> date:
    return NIGHT - timedelta(days=days)


@pytest.fixture
def settings(mlflow_server: str, tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home", mlflow_url=mlflow_server)
    store = RawStore(settings.raw_address)
    store.create()
    for day in history.day_range(ago(40), NIGHT):
        if day != ago(6):  # a day of silence
            row = {"device": "m-1", "time": midnight(day), "payload": "{}"}
            store.append(pa.Table.from_pylist([row]))
    return settings


@pytest.fixture
def model() -> str:
    return f"pump_{uuid4().hex[:12]}"


@pytest.fixture
def check(settings: Settings, model: str) -> Callable[..., str]:
    """Record the check of a night, as the step does."""

    def check(night: date, verdict: str = "quiet", **tags: str) -> str:
        start = int(midnight(night + timedelta(days=1)).timestamp() * 1000) + 7_200_000
        own = {"step": "drift", "model": f"{model}/3", "date": f"{night}", "verdict": verdict}
        listed = [{"key": f"breezeway.{key}", "value": said} for key, said in (own | tags).items()]
        fields = {"experiment_id": "0", "start_time": start, "tags": listed}
        run_id = rest.post(settings, "runs/create", **fields)["run"]["info"]["run_id"]
        done = {"status": "FINISHED", "end_time": start + 9000}
        rest.post(settings, "runs/update", run_id=run_id, **done)
        return run_id

    return check


def publish(settings: Settings, folder: Path, *days: date, rows: int = 1) -> None:
    for day in days:
        raw = {"rows": 1, "first_time": None, "last_time": None, "sha256": f"{day}"}
        manifest = {"contract": "plant", "query": "SELECT 1", "raw": raw, "rows": 1}
        manifest |= {
            "quarantined": 0,
            "reasons": {},
            "features": [],
            "fingerprint": f"{rows}-a-b-c",
        }
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        history.publish_day(settings, folder, day, 1.0, "for tests")


def test_nights_between_checked_ones_are_missing(settings, model, check) -> None:
    for days in (9, 8, 5, 1):
        check(ago(days))
    missing = [ago(days) for days in (7, 6, 4, 3, 2)]
    assert find_absent(settings, model, NIGHT) == Absent(nights=missing, days=[])
    assert find_absent(settings, model, ago(8)).nights == []
    # Nobody asks for the night before the first check, nor for what is four weeks ago.
    assert find_absent(settings, model, ago(-20)).nights[0] == ago(7)
    assert find_absent(settings, model, ago(-24)).nights[0] == NIGHT


def test_a_model_that_was_never_checked_misses_nothing(settings, model, check) -> None:
    check(NIGHT)
    assert find_absent(settings, model.replace("_", "x"), NIGHT).nights == []


def test_days_with_readings_that_are_not_published_are_missing(settings, model, tmp_path) -> None:
    assert find_absent(settings, model, NIGHT).days == []  # nobody uses history
    publish(settings, tmp_path / "day", ago(8), ago(5), ago(1))
    assert find_absent(settings, model, NIGHT).days == [ago(days) for days in (7, 4, 3, 2)]
    assert find_absent(settings, model, ago(8)).days == []
    assert find_absent(settings, model, ago(-22)).days == [ago(4), ago(3), ago(2), NIGHT]


def test_readings_that_came_too_late_for_their_day_are_told_of(settings, model, tmp_path) -> None:
    """Of days that are too old to be made again; not where the store has lost readings since."""
    publish(settings, tmp_path / "day", ago(35), ago(30), rows=1)
    publish(settings, tmp_path / "day", ago(34), ago(20), rows=0)
    publish(settings, tmp_path / "day", ago(33), rows=9)
    found = find_absent(settings, model, NIGHT)
    assert found.late == [ago(days) for days in (34, 32, 31, 29)]  # the last three were never made
    assert (found.days[0], ago(20) in found.days) == (ago(28), False)
    assert find_absent(settings, model, ago(-366 + 34)).late[0] == ago(34)
    assert find_absent(settings, model, ago(-366 + 33)).late[0] == ago(32)


def test_a_store_that_cannot_be_counted_stops_no_check(settings, model, tmp_path) -> None:
    publish(settings, tmp_path / "day", ago(8))
    row = {"device": "m-1", "time": f"{ago(7)}T12:00:00+02:00", "payload": "{}"}
    with RawStore(settings.raw_address)._transaction() as connection:
        statement = "INSERT INTO readings (device, time, payload) VALUES (:device, :time, :payload)"
        connection.execute(text(statement), row)
    assert find_absent(settings, model, NIGHT) == Absent(nights=[], days=[])


def test_the_newest_check_of_a_night_counts(settings, model, check) -> None:
    first = nights.checked_nights(settings, model)
    check(NIGHT, "suspected")
    check(NIGHT, "drifted")
    (found,) = nights.checked_nights(settings, model).values()
    assert first == {}
    assert (found.version, found.seconds) == ("3", 9.0)
    assert found.night == NIGHT


@pytest.mark.parametrize(
    "tags", [{"date": "soon"}, {"absent": "[1]"}, {"absent": '{"nights": "all"}'}, {"model": "x"}]
)
def test_tags_that_somebody_changed_are_left_out(settings, model, check, tags) -> None:
    check(ago(2))
    check(NIGHT, **tags)
    assert list(nights.checked_nights(settings, model)) == [ago(2)]
