"""The nightly check of a real champion in a real MLflow: quiet, drifted, sensors at fault."""

import argparse
import html
import json
from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from breezeway.commands import nights
from breezeway.core.arguments import ArgumentParser
from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.deployment.store import Deployment, DeploymentStore
from breezeway.pipeline.in_service import deployment_name
from breezeway.readings import plant
from breezeway.readings.store import RawStore
from breezeway.steps import drift, preprocess, train
from breezeway.tracking import champions, mlflow_client, registry, rest
from tests.fixtures.readings import as_a_users_own, midnight

pytestmark = pytest.mark.timeout(600)

MACHINES = [f"machine-{number:02}" for number in range(1, 6)]
TRAINED_UNTIL = date(2026, 5, 1)
NIGHT = date(2026, 5, 4)
QUERY = "SELECT device, time, payload FROM readings"


def command(**fields) -> argparse.Namespace:
    return argparse.Namespace(**fields)


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mlflow_server) -> Settings:
    """A home with a champion that was trained on 24 days of five machines."""
    home = tmp_path_factory.mktemp("nightly")
    settings = Settings(home=home, mlflow_url=mlflow_server)
    with_days(settings, home, days(TRAINED_UNTIL - timedelta(days=24), 24))
    preprocess.run(command(query=QUERY, tag="v1", day=None, first=None), settings)
    versions.publish(settings, settings.work / "v1" / "dataset", "v1")
    train.run(command(tag="v1", run_name="first", model_name="nightly"), settings)
    champions.promote(settings, "nightly", "1", None, "the first")
    return settings


def readings(day: date, drift: float = 0.0) -> list[plant.MachineDay]:
    return [thinned(plant.simulate(machine, day, drift=drift)) for machine in MACHINES]


def thinned(part: plant.MachineDay) -> plant.MachineDay:
    """A reading every five minutes: the tests are done sooner."""
    return edited(part, part.readings.take(pa.array(range(0, 1440, 5))))


def with_days(settings: Settings, folder, parts: list[plant.MachineDay], **fields) -> Settings:
    """The same home with another raw store, in which these days lie."""
    address = f"sqlite:///{folder / 'raw.db'}"
    store = RawStore(address)
    store.create()
    for part in parts:
        store.append(part.readings, labels=part.labels)
    return Settings(**{**settings.model_dump(), "raw_url": address, **fields})


def check(settings: Settings, day: date = NIGHT) -> dict:
    return drift.run(command(model_name="nightly", date=day), settings)


def artifact(settings: Settings, run_id: str, name: str, folder) -> str:
    path = mlflow_client.client(settings).download_artifacts(run_id, name, str(folder))
    return open(path, encoding="utf-8").read()


def days(first: date, count: int, drift_from: date | None = None) -> list[plant.MachineDay]:
    return [
        part
        for day in (first + timedelta(days=k) for k in range(count))
        for part in readings(day, 15.0 if drift_from and day >= drift_from else 0.0)
    ]


@pytest.mark.parametrize("server", ["mariadb", "postgres"])
def test_a_night_of_a_users_own_view_is_the_same(request, settings, tmp_path, server):
    night = with_days(settings, tmp_path, days(NIGHT - timedelta(days=4), 5))
    database = request.getfixturevalue(server).database("nights")
    own = as_a_users_own(night, getattr(database, "url", database), tmp_path)
    ours, theirs = check(night), check(own)
    for key in ("verdict", "reason", "rows", "drifted", "sensor_faults", "labels"):
        assert theirs[key] == ours[key]


def test_a_quiet_night(settings, tmp_path):
    night = with_days(settings, tmp_path, days(NIGHT - timedelta(days=4), 5), run_id="nightly/r1")
    result = check(night)
    assert result["verdict"] == "quiet", result["reason"]
    assert (result["drifted"], result["sensor_faults"]) == ([], [])
    assert (result["model_version"], result["rows"]) == ("1", 5 * 288)
    assert not result["was_in_service"]
    assert "Nothing is recorded to have been in service" in result["judged_by"]
    assert len(json.dumps(result)) < 4096
    run = mlflow_client.client(settings).get_run(result["run_id"])
    assert run.data.tags["breezeway.airflow_run"] == "nightly/r1"
    assert run.data.tags["breezeway.date"] == "2026-05-04"
    paths = [report["path"] for report in json.loads(run.data.tags["breezeway.reports"])]
    assert paths == ["drift.html", "findings.json", "drift.json"]
    assert run.data.metrics["events"] > 0
    findings = json.loads(artifact(settings, result["run_id"], "findings.json", tmp_path))
    assert findings["reference"] == {
        "data_tag": "v1",
        "days": 24,
        "days_of_scores": 0,
        "compared_by": "hour of the week",
    }
    assert [entry["date"] for entry in findings["nights"]][-1] == "2026-05-04"
    measured = findings["false_alarms"]
    assert measured["replayed"] == 24 and measured["allowed_per_month"] == 0.5
    page = artifact(settings, result["run_id"], "drift.html", tmp_path)
    assert "allows 0.5 false alarms a month" in page
    assert result["judged_by"] in page
    assert (result["absent_nights"], result["absent_days"], result["late_days"]) == (0, 0, 0)
    assert "Evidently's, of 1440 of the day's 1440 rows" in html.unescape(page)
    assert not list(settings.work.glob(".drift-*"))


def test_drift_is_suspected_first_and_counts_when_it_is_confirmed(settings, tmp_path):
    parts = days(NIGHT - timedelta(days=5), 6, drift_from=NIGHT - timedelta(days=1))
    night = with_days(settings, tmp_path, parts)
    first = check(night, NIGHT - timedelta(days=1))
    assert (first["verdict"], first["drifted"]) == ("suspected", [])
    assert first["suspected_count"] > 0
    second = check(night)
    assert second["verdict"] == "drifted"
    found = {(change["column"], change["device"], change["change"]) for change in second["drifted"]}
    assert ("temperature", None, "level") in found
    assert not {column for column, _, _ in found} & {"torque", "pressure", "rotational_speed"}
    assert second["drifted_count"] >= len(found)
    assert check(night)["drifted"] == second["drifted"]


def test_sensors_at_fault_are_named_and_are_no_drift(settings, tmp_path):
    parts = days(NIGHT - timedelta(days=4), 4)
    silent, stuck, clock, invalid, sound = readings(NIGHT)
    parts += [
        edited(silent, silent.readings.slice(0, 40)),
        edited(stuck, changed(stuck.readings, 80, freeze)),
        edited(clock, set_back(clock.readings)),
        edited(invalid, changed(invalid.readings, 0, too_hot)),
        sound,
        thinned(plant.simulate("machine-77", NIGHT)),
    ]
    result = check(with_days(settings, tmp_path, parts))
    faults = {(fault["device"], fault["fault"]) for fault in result["sensor_faults"]}
    assert faults == {
        ("machine-01", "silent"),
        ("machine-02", "stuck"),
        ("machine-03", "clock"),
        ("machine-04", "invalid"),
        ("machine-77", "new device"),
    }
    details = {fault["fault"]: fault["detail"] for fault in result["sensor_faults"]}
    assert details["stuck"].startswith("temperature, ")
    assert "out_of_range of temperature" in details["invalid"]
    assert result["drifted"] == []
    assert result["quarantined"] == 288


def edited(part: plant.MachineDay, table: pa.Table) -> plant.MachineDay:
    return plant.MachineDay(part.device, part.day, table, part.labels)


def changed(table: pa.Table, first: int, change) -> pa.Table:
    payloads = table["payload"].to_pylist()
    for row in range(first, len(payloads)):
        payloads[row] = change(payloads[row])
    return table.set_column(2, "payload", pa.array(payloads))


def freeze(payload: str) -> str:
    reading = orjson.loads(payload)
    reading["env"]["temperature"] = 61.5
    return orjson.dumps(reading).decode()


def too_hot(payload: str) -> str:
    reading = orjson.loads(payload)
    reading["env"]["temperature"] = 999.0
    return orjson.dumps(reading).decode()


def set_back(table: pa.Table) -> pa.Table:
    """From noon on the clock is two hours and a bit late: two hours hold all readings twice."""
    late = np.where(np.arange(len(table)) >= 144, 2 * 3_600_000_000 + 30_000_000, 0)
    time = pc.subtract(table["time"].cast(pa.int64()), pa.array(late))
    return table.set_column(1, "time", time.cast(table.schema.field("time").type))


def test_a_night_without_a_reading_is_not_judged_and_all_are_silent(settings, tmp_path):
    result = check(with_days(settings, tmp_path, []))
    assert result["verdict"] == "not judged"
    assert "not one good reading" in result["reason"]
    assert {fault["fault"] for fault in result["sensor_faults"]} == {"silent"}
    assert result["sensor_fault_count"] == len(MACHINES)


@pytest.fixture
def served(settings, tmp_path) -> Iterator[None]:
    """Version 1 is in service; the alias `champion` is at another, which has no files."""
    first = registry.find_version(settings, "nightly", "1")
    run = rest.get(settings, "runs/get", run_id=first.run_id)["run"]["info"]
    fields = {"source": f"{run['artifact_uri']}/model", "run_id": first.run_id}
    rest.post(settings, "model-versions/create", name="nightly", **fields)
    newest = registry.newest_version(settings, "nightly")
    registry.set_alias(settings, "nightly", champions.CHAMPION, newest)
    folder = tmp_path / "bento"
    folder.mkdir()
    (folder / "bento.yaml").touch()
    record = Deployment(
        model_name="nightly",
        model_version="1",
        deployment=deployment_name(first),
        bento="nightly:1",
        data_tag="v1",
        model_folder="models",
    )
    store = DeploymentStore(settings.deployments)
    moment = midnight(NIGHT) + timedelta(hours=23)
    pointer = store.add(folder, record).model_copy(update={"deployed_at": moment})
    store.point(pointer.verified())
    yield
    store.point_back("nightly", None)
    registry.set_alias(settings, "nightly", champions.CHAMPION, "1")


def test_a_night_is_judged_by_what_served_when_it_ended(settings, served, tmp_path):
    night = with_days(settings, tmp_path, readings(NIGHT))
    result = check(night)
    assert (result["model_version"], result["was_in_service"]) == ("1", True)
    assert result["judged_by"] == "Version 1 was in service when the day ended."
    run = mlflow_client.client(settings).get_run(result["run_id"])
    assert run.data.tags["breezeway.model"] == "nightly/1"
    assert run.data.tags["breezeway.was_in_service"] == "true"
    before = check(night, NIGHT - timedelta(days=1))
    assert (before["model_version"], before["was_in_service"]) == ("1", False)
    assert "is not recorded" in before["judged_by"]


def test_the_plan_of_a_range_says_what_judges_and_how_long_it_takes(settings, served, tmp_path):
    text = settings.sensors.read_text(encoding="utf-8")
    sensors = tmp_path / "sensors.toml"
    sensors.write_text(text.replace('name = "plant"', 'name = "nightly"'), encoding="utf-8")
    night = with_days(settings, tmp_path, readings(NIGHT), sensors=sensors)
    result = check(night)
    first, last = NIGHT - timedelta(days=1), NIGHT + timedelta(days=1)
    plan = nights.run(command(first=first, last=last), night)
    assert [each["night"] for each in plan["nights"]] == [f"{first}", f"{NIGHT}", f"{last}"]
    assert [each["rows"] for each in plan["nights"]] == [0, 5 * 288, 0]
    assert [each["model_version"] for each in plan["nights"]] == ["1", "1", "1"]
    assert plan["nights"][1]["checked"] == result["verdict"]
    assert plan["nights"][2]["checked"] is None
    assert plan["rows"] == 5 * 288
    assert plan["seconds"] > 0 and plan["estimated_from"].endswith(" seconds a night")
    later = check(night, NIGHT + timedelta(days=3))
    assert (later["absent_nights"], later["absent_days"]) == (2, 0)
    missed = f"These nights were not checked: {NIGHT + timedelta(1)}, {NIGHT + timedelta(2)}."
    findings = artifact(settings, later["run_id"], "findings.json", tmp_path)
    assert json.loads(findings)["missing"] == [missed]
    assert missed in artifact(settings, later["run_id"], "drift.html", tmp_path)
    with pytest.raises(UsageError, match=f"--last {first} is before --first {last}"):
        nights.run(command(first=last, last=first), night)


def test_too_short_a_reference_judges_nothing(settings, tmp_path):
    """All that the model was trained on is among the nights that are judged."""
    text = settings.sensors.read_text(encoding="utf-8")
    sensors = tmp_path / "sensors.toml"
    sensors.write_text(text.replace("nights = 3 ", "nights = 30 "), encoding="utf-8")
    night = with_days(settings, tmp_path, readings(NIGHT), sensors=sensors)
    result = check(night)
    assert (result["verdict"], result["drifted"]) == ("not judged", [])
    assert "beside those that are judged" in result["reason"]


def test_bad_arguments(settings):
    with pytest.raises(UsageError, match="'nobody' has no champion"):
        drift.run(command(model_name="nobody", date=NIGHT), settings)
    parser = ArgumentParser()
    drift.add_arguments(parser)
    with pytest.raises(UsageError, match="'tomorrow' is not a day: expected"):
        parser.parse_args(["--model-name", "nightly", "--date", "tomorrow"])


def test_mlflow_away(settings, tmp_path):
    away = Settings(**{**settings.model_dump(), "mlflow_url": "http://127.0.0.1:9"})
    with pytest.raises(ServiceUnavailable):
        check(with_days(away, tmp_path, readings(NIGHT)))
