"""The sensor of the DAG `history`: when it goes on, and with which days."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway_airflow.published_days import FindPublishedDays


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The first of March, published, in a home of its own."""
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path / "home"))
    folder = tmp_path / "dataset"
    folder.mkdir()
    raw = {"rows": 7, "first_time": None, "last_time": None, "sha256": ""}
    manifest = {"contract": "plant", "query": "SELECT 1", "raw": raw, "rows": 7}
    manifest |= {"quarantined": 0, "reasons": {}, "features": [], "fingerprint": "f"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    history.publish_day(Settings.from_environment(), folder, date(2026, 3, 1), 1.0, "for tests")
    return "2026-03-01"


def poke(day: str, run_type: str):
    sensor = FindPublishedDays(task_id="find", day=day, contract_name="plant")
    return sensor.poke({"dag_run": SimpleNamespace(run_type=run_type)})


@pytest.mark.parametrize(
    ("day", "run_type", "found"),
    [
        ("2026-03-03", "scheduled", True),
        ("2026-02-27", "scheduled", False),
        ("2026-03-03", "backfill", False),
        ("2026-02-27", "manual", True),
        ("2026-04-27", "scheduled", False),
    ],
)
def test_a_schedule_looks_back_and_a_person_ahead(
    published: str, day: str, run_type: str, found: bool
) -> None:
    looked = poke(day, run_type)
    assert looked.is_done
    assert [day for day, value in looked.xcom_value.items() if value] == [published] * found


def test_a_schedule_names_the_days_of_four_weeks_that_nobody_has_published(published: str) -> None:
    looked = poke("2026-03-03", "scheduled").xcom_value
    missing = [day for day, fingerprint in looked.items() if not fingerprint]
    assert len(looked) == history.LOOK_BACK_DAYS
    assert (missing[0], missing[-1]) == ("2026-02-03", "2026-03-02")
    assert published not in missing
    assert poke("2026-02-20", "backfill").xcom_value == {published: "f"}


@pytest.mark.parametrize("day", ["2026-1-3", "2999-01-01", "0001-01-01"])
def test_a_day_that_cannot_be_is_refused(day: str) -> None:
    with pytest.raises(UsageError, match="Correct the field 'day': "):
        poke(day, "manual")


def test_a_day_that_has_not_ended_is_waited_for() -> None:
    assert not poke(datetime.now(UTC).date().isoformat(), "scheduled").is_done
