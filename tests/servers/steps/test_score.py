"""Readings scored in a batch by a registered version, in a real MLflow and a real DVC."""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.pipeline import batch_scoring, evaluation, nightly_rows, predictions
from breezeway.pipeline.batch_scoring import Asked
from breezeway.pipeline.nightly_rows import NightRows
from breezeway.readings import simulate
from breezeway.readings.store import RawStore
from breezeway.serving.predict import LiveModel
from breezeway.steps import preprocess, score, train
from breezeway.tracking import champions, mlflow_client, registry
from breezeway.tracking.load import load
from tests.fixtures.pointers import pointer_to

QUERY = "SELECT device, time, payload FROM readings"
FIRST, LAST = date(2026, 4, 27), date(2026, 4, 30)
LOOK_BACK = "on_delay_readings = 2\n"
MODEL = "batches"


def run(settings: Settings, *words: str) -> dict:
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    return score.run(parser.parse_args([f"--model-name={MODEL}", *words]), settings)


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mlflow_server) -> Settings:
    """A home with dirty readings of three machines, a zone, and a model whose alarms look back."""
    folder = tmp_path_factory.mktemp("scored")
    text = (Settings.shipped_sensors / "plant.toml").read_text("utf-8")
    sensors = folder / "sensors.toml"
    text = text.replace("[alarm]\n", f"[alarm]\n{LOOK_BACK}")
    sensors.write_text(f'time_zone = "Europe/Berlin"\n{text}')
    settings = Settings(home=folder / "home", mlflow_url=mlflow_server, sensors=sensors)
    end = LAST + timedelta(days=1)
    simulate.fill(settings, devices=3, days=4, end=end, bad_share=0.03)
    given = argparse.Namespace(query=QUERY, tag="v1", day=None, first=None)
    preprocess.run(given, settings)
    versions.publish(settings, settings.work / "v1" / "dataset", "v1")
    given = argparse.Namespace(tag="v1", run_name="first", model_name=MODEL)
    train.run(given, settings)
    return settings


@pytest.fixture(scope="module")
def scored(settings) -> dict:
    return run(settings, f"--first={FIRST}", f"--last={LAST}", "--model-version=1", "--table")


@pytest.fixture(scope="module")
def of_history(settings, tmp_path_factory) -> pa.Table:
    """All readings in one run, as the step `test` reads them, with their scores."""
    model = load(settings, MODEL, "1")
    rows, _ = evaluation._features(QUERY, model, settings, tmp_path_factory.mktemp("h") / "d")
    return rows.append_column("score", pa.array(model.score_readings(rows)))


def table_of(settings: Settings, tag: str) -> pa.Table:
    opened = versions.open_dataset(settings, tag)
    return ds.dataset(opened.folder / predictions.FOLDER).to_table()


def by_key(table: pa.Table) -> dict[tuple[str, datetime], float]:
    columns = (table[name].to_pylist() for name in ("device", "time", "score"))
    return {(device, time): found for device, time, found in zip(*columns, strict=True)}


def test_a_range_has_the_scores_of_history_to_the_last_bit(settings, scored, of_history):
    found = table_of(settings, scored["tag"])
    assert scored["tag"] == f"{MODEL}-scores-1-20260427-20260430-1"
    assert found.schema.equals(predictions.PREDICTIONS)
    assert len(found) == scored["rows"] == len(of_history) > 3 * 4 * 1440 * 0.9
    assert by_key(found) == by_key(of_history)
    model = load(settings, MODEL, "1")
    alarm = found["score"].to_numpy() >= model.threshold
    assert found["alarm"].to_pylist() == alarm.tolist()
    assert scored["alarms"] == alarm.sum() > scored["episodes"] > 0
    assert scored["quarantined"] > 100
    assert len(json.dumps(scored)) < 4096


def test_a_day_alone_has_them_too_from_its_first_reading_on(settings, of_history):
    """Windows and the look-back of the alarm begin before midnight, that of the contract's zone."""
    found = table_of(settings, run(settings, "--day=2026-04-29", "--model-version=1")["tag"])
    start, end = (datetime(2026, 4, day, 22, tzinfo=UTC) for day in (28, 29))
    expected = {key: s for key, s in by_key(of_history).items() if start <= key[1] < end}
    assert by_key(found) == expected
    assert min(found["time"].to_pylist()) < start + timedelta(minutes=5)


def test_without_the_readings_before_midnight_the_first_scores_would_differ(
    settings, of_history, monkeypatch
):
    """So the test above shows that they are read, and how many."""
    lookback = load(settings, MODEL, "1").contract.alarm.lookback
    real = batch_scoring.DayReadings

    def fewer(*arguments, scored):
        assert scored == lookback == 16
        return real(*arguments, scored=0)

    monkeypatch.setattr(batch_scoring, "DayReadings", fewer)
    asked = Asked(first=date(2026, 4, 29), last=date(2026, 4, 29))
    found: dict[tuple[str, datetime], float] = {}
    monkeypatch.setattr(
        batch_scoring.history,
        "publish_revision",
        lambda _settings, folder, *_: (
            found.update(by_key(pa.Table.from_batches(list(predictions.read(folder)))))
            or argparse.Namespace(tag="none")
        ),
    )
    batch_scoring.score(settings, MODEL, "1", asked, in_table=False)
    expected = by_key(of_history)
    differing = [key for key in found if found[key] != expected[key]]
    midnight = datetime(2026, 4, 28, 22, tzinfo=UTC)
    assert differing and max(time for _, time in differing) < midnight + timedelta(hours=1)


def test_a_night_has_them_too_over_midnight(settings, of_history, tmp_path):
    """Read as the nightly check reads it: the night, and the two before it."""
    model = load(settings, MODEL, "1")
    zone, night = model.contract.zone, date(2026, 4, 30)
    first, last = date(2026, 4, 28), date(2026, 4, 29)
    before = nightly_rows.read_days(model, first, last, zone, settings, tmp_path / "b")
    tonight = nightly_rows.read_days(model, night, night, zone, settings, tmp_path / "n")
    rows = NightRows(model, tmp_path, night, zone, 2, before, tonight, model)
    start = datetime(2026, 4, 27, 22, tzinfo=UTC)
    expected = {key: score for key, score in by_key(of_history).items() if start <= key[1]}
    scored = list(rows.scored())
    assert sum(map(len, scored)) == len(expected)
    assert by_key(pa.Table.from_batches(scored)) == expected
    assert by_key(pa.Table.from_batches(list(tonight.scored(model, night)))) == {
        key: score for key, score in expected.items() if key[1] >= start + timedelta(days=2)
    }
    alone = by_key(pa.Table.from_batches(list(before.scored(model, last))))
    assert alone == {
        key: score
        for key, score in expected.items()
        if timedelta(days=1) <= key[1] - start < timedelta(days=2)
    }
    assert sum(map(len, rows.current())) == len(expected)
    counted = before.rows_by_device().total() + tonight.rows_by_device().total()
    assert counted == len(expected) == before.manifest.rows + tonight.manifest.rows


def test_the_server_gives_the_same(settings, scored):
    """Of readings around midnight, each with the readings before it that a request needs."""
    model = load(settings, MODEL, "1")
    live = LiveModel(model, pointer_to(1), datetime(2026, 5, 1, tzinfo=UTC))
    found = by_key(table_of(settings, scored["tag"]))
    device = "machine-01"
    rows = RawStore(settings.raw_address).stream(
        f"{QUERY} WHERE device = '{device}' AND time > '2026-04-28 18:00' "
        "AND time < '2026-04-28 23:00' ORDER BY time"
    )
    readings = [
        {"time": f"{row['time'].replace(tzinfo=None).isoformat()}Z", "payload": row["payload"]}
        for chunk in rows
        for row in chunk.to_pylist()
        if (device, row["time"]) in found
    ]
    times = [datetime.fromisoformat(reading["time"]) for reading in readings]
    wanted = model.contract.request_readings
    for end in range(len(readings) - 90, len(readings)):
        window = readings[end + 1 - wanted : end + 1]
        assert live.score(device, window) == found[device, times[end]]


def test_the_manifest_says_what_was_scored_and_by_what(settings, scored):
    manifest = versions.find_version(settings, scored["tag"]).manifest
    model = load(settings, MODEL, "1")
    assert manifest["kind"] == "scores"
    assert (manifest["model_name"], manifest["model_version"]) == (MODEL, "1")
    assert manifest["threshold"] == model.threshold
    assert manifest["lineage"] == model.lineage
    assert manifest["time_zone"] == "Europe/Berlin" and manifest["code"]
    assert list(manifest["days"]) == [f"2026-04-{day}" for day in (27, 28, 29, 30)]
    for day in manifest["days"].values():
        assert day["read"] == day["rows"] + day["copies"] + day["quarantined"]
        assert len(day["sha256"]) == 64
    assert sum(day["rows"] for day in manifest["days"].values()) == scored["rows"]
    assert sum(manifest["reasons"].values()) == scored["quarantined"] == manifest["quarantined"]
    assert sum(manifest["devices"].values()) == scored["alarms"]


def test_a_second_run_adds_nothing(settings, scored):
    words = (f"--first={FIRST}", f"--last={LAST}", "--model-version=1", "--table")
    again = run(settings, *words)
    assert again["tag"] == scored["tag"]
    assert again["table_rows"] == scored["rows"]
    assert stored(settings) == {MODEL: scored["rows"]}


def stored(settings: Settings) -> dict[str, int]:
    path = settings.raw_address.removeprefix("sqlite:///")
    query = "SELECT model, COUNT(*) FROM predictions GROUP BY model"
    return dict(sqlite3.connect(path).execute(query).fetchall())


def test_the_table_has_each_prediction_to_the_last_bit(settings, scored):
    path = settings.raw_address.removeprefix("sqlite:///")
    query = "SELECT device, time, score, alarm FROM predictions WHERE version = '1'"
    rows = sqlite3.connect(path).execute(query).fetchall()
    found = {
        (device, datetime.fromisoformat(time).replace(tzinfo=UTC)): value
        for device, time, value, _ in rows
    }
    assert found == by_key(table_of(settings, scored["tag"]))
    assert sum(alarm for *_, alarm in rows) == scored["alarms"]


def test_a_query_has_the_scores_of_a_test_with_it(settings, tmp_path):
    query = f"{QUERY} WHERE device = 'machine-02' AND time < '2026-04-29 07:00'"
    found = run(settings, f"--query={query}", "--model-version=1")
    assert found["tag"].startswith(f"{MODEL}-scores-1-query-")
    model = load(settings, MODEL, "1")
    rows, _ = evaluation._features(query, model, settings, tmp_path / "dataset")
    rows = rows.append_column("score", pa.array(model.score_readings(rows)))
    assert by_key(table_of(settings, found["tag"])) == by_key(rows)
    assert run(settings, f"--query={query}", "--model-version=1")["tag"] == found["tag"]


def test_without_a_version_the_champion_scores_and_the_result_says_so(settings):
    with pytest.raises(UsageError, match="no version in service and no champion"):
        run(settings, "--day=2026-04-28")
    registry.set_alias(settings, MODEL, champions.CHAMPION, "1")
    try:
        found = run(settings, "--day=2026-04-28")
    finally:
        mlflow_client.client(settings).delete_registered_model_alias(MODEL, champions.CHAMPION)
    assert found["model_version"] == "1"
    assert "version 1 is its champion" in found["why"]


def test_days_without_a_reading_have_no_version(settings):
    found = run(settings, "--first=2025-01-01", "--last=2025-01-03", "--model-version=1")
    assert (found["tag"], found["rows"], found["days"]) == (None, 0, 0)


def test_the_page_is_among_the_reports(settings, scored):
    client = mlflow_client.client(settings)
    tags = client.get_run(scored["run_id"]).data.tags
    assert tags["breezeway.step"] == "score"
    assert json.loads(tags["breezeway.reports"])[0]["path"] == batch_scoring.PAGE


def test_a_killed_run_leaves_nothing_that_the_next_one_does_not_finish(settings):
    """Killed in the midst of the table: the dataset is there, the next attempt writes the rest."""
    code = (
        "import os, signal, sys\n"
        "from breezeway.readings.prediction_store import PredictionStore as Store\n"
        "insert = Store._insert\n"
        "def dying(self, *a, **k):\n"
        "    insert(self, *a, **k)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store._insert = dying\n"
        "from breezeway.steps import score\n"
        "from breezeway.steps.runner import run_step\n"
        "run_step('score', '', score.add_arguments, score.run)\n"
    )
    words = [f"--model-name={MODEL}", "--day=2026-04-30", "--model-version=1", "--table"]
    with sqlite3.connect(settings.raw_address.removeprefix("sqlite:///")) as store:
        store.execute("DROP TABLE IF EXISTS predictions")
    environment = {
        **os.environ,
        "BREEZEWAY_HOME": str(settings.home),
        "BREEZEWAY_SENSORS": str(settings.sensors),
        "BREEZEWAY_MLFLOW_URL": settings.mlflow_url,
    }
    died = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, timeout=120, check=False
    )
    assert died.returncode == -9
    assert stored(settings) == {}
    done = run(settings, *words[1:])
    assert done["tag"].endswith("-20260430-1")
    assert stored(settings) == {MODEL: done["rows"]}
    assert not list(settings.work.glob(".score-*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--first=2026-04-28"], "--last: expected 2026-04-28 or a later day"),
        (["--first=2026-04-28", "--last=2026-04-27"], "--last: expected 2026-04-28 or a later"),
        (["--day=2026-04-28", "--last=2026-04-29"], "--last: the first of the days is missing"),
        (["--query= "], "--query: expected one SELECT"),
        (["--query=DROP TABLE readings", "--model-version=1"], "SELECT"),
        (["--query=SELECT 1; SELECT 2", "--model-version=1"], "SELECT"),
        (["--day=2026-04-28", "--model-version=7"], "7"),
        (["--day=2026-04-28", "--model-name=nobody", "--model-version=1"], "nobody"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, words, message):
    with pytest.raises(UsageError, match=message):
        run(settings, *words)


def test_a_query_without_a_row_is_an_error(settings):
    with pytest.raises(DataError, match="it returned no row"):
        run(settings, f"--query={QUERY} WHERE device = 'nobody'", "--model-version=1")


def test_a_dataset_of_scores_is_not_one_to_train_on(settings, scored):
    given: Mapping[str, str] = {"tag": scored["tag"], "run_name": "x", "model_name": "x"}
    with pytest.raises((DataError, UsageError)):
        train.run(argparse.Namespace(**given), settings)
