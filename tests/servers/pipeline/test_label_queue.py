"""What is most worth labelling, and the way back of the labels into the next training."""

import argparse
import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.dataset as ds
import pytest

from breezeway.commands import import_labels
from breezeway.commands import label_queue as queue_command
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.pipeline import label_queue
from breezeway.readings import labels, simulate
from breezeway.readings.label_store import LabelStore
from breezeway.steps import labels as step
from breezeway.steps import preprocess, train
from breezeway.tracking import champions, mlflow_client, rest, runs
from breezeway.tracking.load import load
from tests.fixtures.readings import as_a_users_own

MODEL = "worth"
EVERYTHING = "SELECT device, time, payload FROM readings"
LAST_DAY = f"{EVERYTHING} WHERE time >= '2026-04-30'"
END = datetime(2026, 5, 1, tzinfo=UTC)


def command(**fields) -> argparse.Namespace:
    return argparse.Namespace(**fields)


def of_command(command: ModuleType, settings: Settings, *words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(words), settings)


def queue(settings: Settings, folder: Path, **fields) -> list[dict[str, str]]:
    """Make a queue and read its table back."""
    given = {"model-name": MODEL, "count": 12} | fields
    words = [f"--{name}={value}" for name, value in given.items()]
    of_command(queue_command, settings, f"--output={folder}", *words)
    with (folder / "queue.csv").open() as file:
        return list(csv.DictReader(file))


def publish(settings: Settings, tag: str, query: str) -> Path:
    parser = argparse.ArgumentParser()
    preprocess.add_arguments(parser)
    made = preprocess.run(parser.parse_args([f"--query={query}", f"--tag={tag}"]), settings)
    versions.publish(settings, Path(made["folder"]), tag)
    return versions.open_dataset(settings, tag).folder


def train_one(settings: Settings, tag: str) -> dict:
    return train.run(command(tag=tag, run_name=tag, model_name=MODEL), settings)


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mlflow_server) -> Settings:
    """A plant of three machines, a champion, and a challenger that knows less of it."""
    settings = Settings(home=tmp_path_factory.mktemp("labels"), mlflow_url=mlflow_server)
    simulate.fill(settings, devices=3, days=5, end=END.date())
    publish(settings, "whole", EVERYTHING)
    publish(settings, "part", f"{EVERYTHING} WHERE time < '2026-04-29'")
    for tag in ("whole", "part"):
        train_one(settings, tag)
    version = {"name": MODEL, "alias": champions.CHAMPION, "version": "1"}
    rest.post(settings, "registered-models/alias", **version)
    return settings


@pytest.fixture(scope="module")
def items(settings, tmp_path_factory) -> list[dict[str, str]]:
    return queue(settings, tmp_path_factory.mktemp("queue"))


def test_the_reasons_take_turns(items):
    reasons = [item["reason"] for item in items]
    assert reasons[:2] == [label_queue.DISAGREE, label_queue.UNSURE]
    assert label_queue.DRIFTED not in reasons  # no drift check has named a device yet
    assert len(items) == 12


@pytest.mark.parametrize("server", ["mariadb", "postgres"])
def test_a_view_of_a_users_own_database_gives_the_same_queue(
    request, settings, items, tmp_path, server
):
    database = request.getfixturevalue(server).database("queue")
    own = as_a_users_own(settings, getattr(database, "url", database), tmp_path)
    assert queue(own, tmp_path / "queue") == items


def test_stretches_are_of_the_last_days_and_no_two_are_neighbours(items):
    seen: dict[str, list[datetime]] = {}
    for item in items:
        start, end = time(item["start"]), time(item["end"])
        assert end - start == timedelta(minutes=30)  # a window of readings
        assert END - timedelta(days=5) <= start < end <= END
        assert all(abs(other - start) > end - start for other in seen.get(item["device"], []))
        seen.setdefault(item["device"], []).append(start)


def test_what_is_picked_fits_its_reason(settings, items):
    threshold = float(items[0]["threshold"])
    other = load(settings, MODEL, "2").threshold
    distances = []
    for item in items:
        score, challenger = float(item["score"]), float(item["challenger_score"])
        if item["reason"] == label_queue.DISAGREE:
            assert (score >= threshold) != (challenger >= other)
        else:
            distances.append(abs(logit(score) - logit(threshold)))
    assert distances == sorted(distances)


def test_a_drifted_device_has_its_turn(settings, tmp_path):
    client = mlflow_client.client(settings)
    run = client.create_run("0").info.run_id
    found = {"confirmed": [], "nights": [{"found": [{"column": "power", "device": "machine-02"}]}]}
    client.log_dict(run, found, "findings.json")
    reports = {"findings.json": "Findings"}
    runs.tag_reports(settings, run, reports, step="drift", about=f"{MODEL}/1")
    named = [
        i for i in queue(settings, tmp_path, query=LAST_DAY) if i["reason"] == label_queue.DRIFTED
    ]
    assert len(named) >= 4
    assert {item["device"] for item in named} == {"machine-02"}
    client.delete_run(run)


def test_without_a_challenger_there_is_nothing_to_disagree_with(settings, tmp_path):
    found = queue(settings, tmp_path, challenger="1", query=LAST_DAY)
    assert {item["reason"] for item in found} == {label_queue.UNSURE}


def test_the_tasks_of_label_studio(settings, tmp_path):
    items = queue(settings, tmp_path, count=3, query=LAST_DAY)
    tasks = json.loads((tmp_path / "label-studio.json").read_text())
    interface = ElementTree.parse(tmp_path / "label-studio.xml").getroot()
    channels = {channel.get("column") for channel in interface.iter("Channel")}
    assert [task["data"]["device"] for task in tasks] == [item["device"] for item in items]
    for task in tasks:
        series = task["data"]["series"]
        times = series.pop("time")
        assert times == sorted(times)
        assert set(series) == channels
        assert {len(values) for values in series.values()} == {len(times)}
        start, end = (1000 * time(task["data"][key]).timestamp() for key in ("start", "end"))
        assert times[0] <= start + 60_000 and len(times) > 30
        assert any(start <= t < end for t in times)
    assert "label" in interface.find("TimeSeriesLabels").get("name")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_labels_come_back_and_the_next_training_uses_them(settings, items, tmp_path):
    before = versions.open_dataset(settings, "whole").folder
    store = LabelStore(settings.raw_address)
    there = len(store.labels())
    answered = [{**item, "label": ""} for item in items]
    for item in answered[:6]:
        item["label"] = "fault"
    for item in answered[6:10]:
        item["label"] = " Normal"
    file = tmp_path / "queue.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, answered[0].keys())
        writer.writeheader()
        writer.writerows(answered)

    given = (str(file), "--by=ann@plant")
    assert of_command(import_labels, settings, *given) == {"read": 10, "new": 10, "faults": 6}
    assert of_command(import_labels, settings, *given) == {"read": 10, "new": 0, "faults": 6}
    new = [row for row in store.labels().to_pylist() if row["labelled_by"] == "ann@plant"]
    assert len(store.labels()) == there + 6 == there + len(new)
    assert {(row["device"], row["start"], row["end"]) for row in new} == {
        (item["device"], time(item["start"]), time(item["end"])) for item in answered[:6]
    }
    assert all(datetime.now(UTC) - row["labelled_at"] < timedelta(minutes=5) for row in new)

    after = publish(settings, "after", EVERYTHING)
    for item in answered[:10]:
        found = labels_between(after, item)
        assert found == ({1} if item["label"] == "fault" else labels_between(before, item))
    assert any(labels_between(before, item) != {1} for item in answered[:6])
    version = train_one(settings, "after")["model_version"]
    models = [load(settings, MODEL, number).fitted_model.to_bytes() for number in ("1", version)]
    assert models[0] != models[1]

    again = {(item["device"], item["start"]) for item in queue(settings, tmp_path / "again")}
    assert not again & {(item["device"], item["start"]) for item in answered[:10]}


def labels_between(folder: Path, item: dict[str, str]) -> set[int]:
    table = ds.dataset(folder / "features").to_table()
    table = table.filter(
        (ds.field("device") == item["device"])
        & (ds.field("time") >= time(item["start"]))
        & (ds.field("time") < time(item["end"]))
    )
    return set(table["label"].to_pylist())


def test_an_export_of_label_studio(settings, tmp_path):
    start = datetime(2026, 4, 28, 12, tzinfo=UTC)
    stretch = {"device": "machine-01", "start": start.isoformat()}
    stretch["end"] = (start + timedelta(minutes=30)).isoformat()
    region = {
        "type": "timeserieslabels",
        "value": {
            "start": 1000 * (start + timedelta(minutes=5)).timestamp(),
            "end": 1000 * (start + timedelta(minutes=9)).timestamp(),
            "timeserieslabels": ["fault"],
        },
    }
    done = {"updated_at": "2026-05-02T08:00:00.123Z", "completed_by": {"email": "bob@plant"}}
    export = [
        {"data": stretch, "annotations": [{**done, "result": [region]}]},
        {"data": stretch, "annotations": [{**done, "result": [region], "was_cancelled": True}]},
        {"data": {**stretch, "device": "machine-02"}, "annotations": [{**done, "result": []}]},
        {"data": {**stretch, "device": "machine-03"}, "annotations": []},
        {
            "data": {**stretch, "device": "machine-03"},
            "annotations": [{"completed_by": 7, "result": [region]}],
        },
    ]
    file = tmp_path / "export.json"
    file.write_text(json.dumps(export))
    assert labels.keep(settings, labels.read(file, "eve")) == {"read": 5, "new": 5, "faults": 2}
    rows = LabelStore(settings.raw_address).labels().to_pylist()
    (bob,) = [row for row in rows if row["labelled_by"] == "bob@plant"]
    assert (bob["device"], bob["start"]) == ("machine-01", start + timedelta(minutes=5))
    assert bob["labelled_at"] == datetime(2026, 5, 2, 8, 0, 0, 123000, UTC)
    (eve,) = [row for row in rows if row["labelled_by"] == "eve"]
    assert eve["device"] == "machine-03"


def test_labels_by_the_step(settings):
    stretch = {"start": "2026-04-27T01:00:00Z", "end": "2026-04-27T03:00:00+01:00"}
    given = [{"device": "machine-01", "label": "fault", **stretch}]
    parser = argparse.ArgumentParser()
    step.add_arguments(parser)
    arguments = parser.parse_args([f"--labels={json.dumps(given)}", "--by=carl"])
    assert step.run(arguments, settings) == {"read": 1, "new": 1, "faults": 1}
    rows = LabelStore(settings.raw_address).labels().to_pylist()
    (kept,) = [row for row in rows if row["labelled_by"] == "carl"]
    assert kept["end"] == datetime(2026, 4, 27, 2, tzinfo=UTC)


GOOD = "machine-01,2026-04-27T05:00:00Z,2026-04-27T05:10:00Z,fault"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("machine-99,2026-04-27,2026-04-28,fault", "no readings of a device 'machine-99'"),
        ("machine-01,2026-04-28,2026-04-27,fault", "machine-01"),
        ("machine-01,2026-04-27,2026-04-28,maybe", "row 2: label: 'maybe', expected fault or"),
        ("machine-01,yesterday,2026-04-28,normal", "row 2: start: 'yesterday' is no time"),
    ],
)
def test_one_wrong_row_and_none_is_kept(settings, tmp_path, row, message):
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(["device,start,end,label", GOOD, row]))
    store = LabelStore(settings.raw_address)
    before = len(store.labels()), len(store.reviews())
    with pytest.raises(DataError, match=message):
        labels.keep(settings, labels.read(file, "ann"))
    assert (len(store.labels()), len(store.reviews())) == before


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("a.csv", "device,start\nm,2026-01-01", DataError, "row 1: 'end' is missing"),
        ("a.json", "[", DataError, "a.json"),
        ("a.json", '[{"annotations": []}]', DataError, "export of Label Studio"),
        ("a.txt", "", UsageError, r"expected a file \.csv or \.json"),
    ],
)
def test_files_that_hold_no_labels(settings, tmp_path, name, text, error, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        labels.keep(settings, labels.read(tmp_path / name, "ann"))


def test_a_file_that_is_not_there(settings, tmp_path):
    with pytest.raises(UsageError, match=r"gone\.csv"):
        labels.keep(settings, labels.read(tmp_path / "gone.csv", "ann"))


def test_labels_that_are_a_column_cannot_be_imported(settings, tmp_path):
    sensors = Settings.shipped_sensors / "skab.toml"
    other = Settings(home=settings.home, mlflow_url=settings.mlflow_url, sensors=sensors)
    file = tmp_path / "labels.csv"
    file.write_text(f"device,start,end,label\n{GOOD}\n")
    with pytest.raises(UsageError, match="label"):
        labels.keep(other, labels.read(file, "ann"))


def test_without_a_champion_there_is_no_queue(settings, tmp_path):
    with pytest.raises(UsageError, match="no champion"):
        queue(settings, tmp_path, **{"model-name": "nobody"})
