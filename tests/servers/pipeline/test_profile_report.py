"""What `preprocess` made or refused is shown among the reports, once."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline import preprocessing
from breezeway.readings.store import RawStore
from breezeway.tracking import reports, rest
from breezeway.tracking.reports import ReportedRun

QUERY = "SELECT device, time, payload FROM readings"
GOOD = (
    '{"env":{"temperature":60,"pressure":5},"rotational_speed":1500,"torque":40,"mode":"normal",'
    '"vibration":[1,2,3,4]}'
)
MINUTE = 60_000_000


@pytest.fixture
def settings(tmp_path: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A raw store with a hundred good readings, and an MLflow with an experiment of its own."""
    name = f"pump-{tmp_path.name.replace('_', '-')[-20:].strip('-')}"
    text = (Settings.shipped_sensors / "plant.toml").read_text("utf-8")
    sensors = tmp_path / "sensors.toml"
    sensors.write_text(text.replace('name = "plant"', f'name = "{name}"'), "utf-8")
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BREEZEWAY_SENSORS", str(sensors))
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
    found = Settings.from_environment()
    RawStore(found.raw_address).create()
    fill(found, [GOOD] * 100)
    return found


def fill(settings: Settings, payloads: list[str], device: str = "machine-01") -> None:
    times = pa.array([k * MINUTE for k in range(len(payloads))]).cast(pa.timestamp("us"))
    table = pa.table({"device": [device] * len(payloads), "time": times, "payload": payloads})
    RawStore(settings.raw_address).append(table)


def make(settings: Settings, tag: str = "v1") -> dict[str, Any]:
    return preprocessing.make_version(settings, contract_of(settings), QUERY, tag)


def contract_of(settings: Settings) -> Contract:
    return load_contract(settings.sensors)


def found(settings: Settings) -> list[ReportedRun]:
    return reports.find(settings, model=contract_of(settings).name)[0]


def page(settings: Settings, run: ReportedRun) -> str:
    with reports.open_report(settings, run, "profile.html") as answer:
        return answer.read().decode()


def test_the_page_of_a_dataset_is_a_report(settings):
    made = make(settings)
    (run,) = found(settings)
    assert (run.run_id, run.step) == (made["run_id"], "preprocess")
    assert [report.title for report in run.reports] == ["Data of v1"]
    text = page(settings, run)
    assert "100</b><span>readings in" in text and "temperature" in text
    info = rest.get(settings, "runs/get", run_id=run.run_id)["run"]["info"]
    assert info["status"] == "FINISHED"
    assert not (settings.work / "v1" / "profile.html").exists()


def test_the_same_data_again_replaces_the_page_and_other_data_gets_its_own(settings):
    first = make(settings)["run_id"]
    assert make(settings)["run_id"] == first
    assert len(found(settings)) == 1
    fill(settings, [GOOD] * 10, "machine-02")
    assert make(settings)["run_id"] != first
    assert len(found(settings)) == 2


def test_an_attempt_that_was_killed_before_its_page_was_there_is_completed(settings):
    first = make(settings)["run_id"]
    rest.post(settings, "runs/delete-tag", run_id=first, key="breezeway.reports")
    assert found(settings) == []
    assert make(settings)["run_id"] == first
    assert len(found(settings)) == 1


def test_what_was_rejected_is_shown_too(settings):
    fill(settings, ["{"] * 90, "machine-02")
    with pytest.raises(DataError, match=r"quarantine\.max_share"):
        make(settings)
    (run,) = found(settings)
    assert [report.title for report in run.reports] == ["Data of v1, which was rejected"]
    assert "not_json" in page(settings, run)


def test_without_mlflow_the_page_stays_beside_the_dataset(settings, monkeypatch, caplog):
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", "http://127.0.0.1:9")
    away = Settings.from_environment()
    made = make(away)
    left = away.work / "v1" / "profile.html"
    assert "run_id" not in made and made["rows"] == 100
    assert "readings in" in left.read_text("utf-8")
    assert [said for said in caplog.messages if str(left) in said and "does not answer" in said]
    make(settings)
    assert not left.exists()


def test_a_day_without_a_reading_has_no_page(settings):
    from datetime import date

    made = preprocessing.make_day(settings, contract_of(settings), date(2020, 1, 1), {})
    assert made["rows_in"] == 0 and "run_id" not in made
    assert found(settings) == []


def test_a_server_that_does_not_store_files_is_named(settings):
    with pytest.raises(UsageError, match=r"go to s3://bucket/7, .*--artifacts-destination"):
        rest.put_artifact(settings, "s3://bucket/7", "a.html", b"x")


def test_the_dataset_holds_what_the_page_shows(settings):
    folder = Path(make(settings)["folder"])
    assert json.loads((folder / "profile.json").read_text("utf-8"))["devices"] == 1
    assert not list(folder.rglob("*.html"))
