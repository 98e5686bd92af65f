"""The step as a command: no row is lost, bad input is named, a killed run leaves no trace."""

import hashlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from breezeway.contract.contract import Contract, load_contract
from breezeway.contract.features import latest_features
from breezeway.core.errors import InternalError
from breezeway.core.settings import Settings
from breezeway.core.times import from_iso
from breezeway.preprocessing import dataset
from breezeway.preprocessing import part as part_module
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.store import RawStore
from tests.fixtures import ROOT
from tests.fixtures.ray import ray_cluster

QUERY = "SELECT device, time, payload FROM readings"
SPAWN = multiprocessing.get_context("spawn")
START = np.datetime64("2026-03-01T00:00:00", "us")
BAD = [
    None,
    "",
    '{"env":{"temperature":1',
    '{"torque":1}',
    "NaN",
    '{"env":{"temperature":"60,0","pressure":5},"rotational_speed":1,"torque":1,'
    '"mode":"normal","vibration":[1,2,3,4]}',
]


def payload(generator: np.random.Generator) -> str:
    burst = ",".join(f"{x:.4f}" for x in generator.normal(0, 1, generator.integers(4, 20)))
    pressure = "null" if generator.random() < 0.03 else f"{generator.normal(5, 1):.4f}"
    return (
        f'{{"env":{{"temperature":{generator.normal(60, 5):.3f},"pressure":{pressure}}},'
        f'"rotational_speed":{generator.normal(1500, 50):.1f},"torque":40,"mode":"normal",'
        f'"vibration":[{burst}]}}'
    )


def readings(devices: int, each: int, bad_share: float = 0.0) -> pa.Table:
    generator = np.random.default_rng(3)
    rows = devices * each
    payloads = [payload(generator) for _ in range(min(rows, 2000))]
    payloads = [payloads[row % len(payloads)] for row in range(rows)]
    for row in np.flatnonzero(generator.random(rows) < bad_share).tolist():
        payloads[row] = BAD[row % len(BAD)]
    minutes = np.tile(np.arange(each), devices)
    return pa.table(
        {
            "device": np.repeat([f"machine-{d:02d}" for d in range(devices)], each),
            "time": START + minutes.astype("timedelta64[m]"),
            "payload": pa.array(payloads, pa.string()),
        }
    )


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "a home"


def fill(home: Path, table: pa.Table) -> RawStore:
    home.mkdir(exist_ok=True)
    store = RawStore(f"sqlite:///{home / 'raw.db'}")
    store.create()
    store.append(table)
    return store


def command(home: Path, query: str = QUERY, tag: str = "v1") -> tuple[list[str], dict[str, str]]:
    environment = {
        **os.environ,
        "BREEZEWAY_HOME": str(home),
        "BREEZEWAY_MLFLOW_URL": "http://127.0.0.1:9",  # nothing listens there
        "BREEZEWAY_RESULT": str(home / "result.json"),
    }
    step = [sys.executable, "-m", "breezeway.steps.preprocess"]
    return [*step, "--query", query, "--tag", tag], environment


def run_step(home: Path, query: str = QUERY, tag: str = "v1") -> tuple[int, dict]:
    arguments, environment = command(home, query, tag)
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.returncode, json.loads((home / "result.json").read_text(encoding="utf-8"))


def content(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_rows_in_are_rows_out_and_quarantined(home):
    table = readings(4, 2000, bad_share=0.05)
    fill(home, table)
    code, result = run_step(home)
    assert code == 0
    assert result["rows_in"] == len(table) == result["rows"] + result["quarantined"]
    assert 300 < result["quarantined"] < 500
    assert result["warnings"] == []
    assert result["reasons"].keys() == {"null_payload", "not_json", "missing", "wrong_type"}
    folder = Path(result["folder"])
    good = ds.dataset(folder / "features").to_table()
    bad = ds.dataset(folder / "quarantine").to_table()
    assert len(good) == result["rows"] and len(bad) == result["quarantined"]
    keys = {
        (row["device"], row["time"].replace(tzinfo=None))
        for part in (good, bad)
        for row in part.select(["device", "time"]).to_pylist()
    }
    assert len(keys) == len(table)
    assert set(bad["payload"].to_pylist()) <= set(BAD)


def test_an_interval_that_is_not_true_is_told_in_the_result(home):
    fill(home, readings(2, 500))
    code, result = run_step(home, f"{QUERY} WHERE id % 5 = 0")
    assert code == 0
    [warning] = result["warnings"]
    assert warning.startswith("interval_seconds = 60, but the median interval is 300 s")


def test_a_query_without_end_is_ended(home, monkeypatch):
    fill(home, readings(1, 10))
    monkeypatch.setenv("BREEZEWAY_QUERY_SECONDS", "1")
    endless = "WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT COUNT(*) FROM n"
    code, result = run_step(home, f"SELECT *, ({endless}) AS more FROM readings")
    assert code == 64
    assert "ended after 1 s (BREEZEWAY_QUERY_SECONDS)" in result["error"]


def test_a_row_too_many_is_noticed(home, tmp_path, monkeypatch):
    """A parser that loses a row makes the step fail."""
    contract = load_contract(Settings.shipped_sensors / "plant.toml")
    parse = part_module.PayloadParser.parse

    def lose_one(self, payloads):
        parsed = parse(self, payloads)
        parsed.violations.pop(next(iter(parsed.violations)))
        return parsed

    monkeypatch.setattr(part_module.PayloadParser, "parse", lose_one)
    folder = tmp_path / "dataset"
    folder.mkdir()
    table = readings(1, 200, bad_share=0.1).append_column("label", pa.nulls(200, pa.int64()))
    with pytest.raises(InternalError, match="rows in"):
        dataset.make_dataset([table], DatasetSpec(contract, "q"), folder, Settings(threads=1))


def test_order_chunks_threads_and_ray_change_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "PART_ROWS", 5_000)
    monkeypatch.setattr(part_module, "BLOCK_ROWS", 2_048)
    contract = load_contract(Settings.shipped_sensors / "plant.toml")
    table = readings(6, 3000, bad_share=0.05)
    labels = pa.table(
        {
            "device": ["machine-01", "machine-01"],
            "start": pa.array([START, START + np.timedelta64(1, "h")]),
            "end": pa.array([START + np.timedelta64(2, "h"), START + np.timedelta64(3, "h")]),
        }
    )
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    ways = {
        "whole": ([table], 1),
        "shuffled": ([shuffled.slice(k, 777) for k in range(0, len(table), 777)], 2),
    }
    contents = {}
    for way, (chunks, threads) in ways.items():
        folder = tmp_path / way
        folder.mkdir()
        spec = DatasetSpec(contract, "q", labels)
        dataset.make_dataset(chunks, spec, folder, Settings(threads=threads))
        contents[way] = content(folder)
    assert contents["whole"] == contents["shuffled"]
    features = ds.dataset(tmp_path / "whole" / "features").to_table()
    assert len(list((tmp_path / "whole" / "features").iterdir())) > 2
    positive = features.filter(features["label"].to_numpy() == 1)
    assert set(positive["device"].to_pylist()) == {"machine-01"}
    assert 160 < len(positive) < 180  # three hours of minutes less the quarantined


def test_ray_gives_the_same_bytes(home):
    fill(home, readings(6, 400, bad_share=0.05))
    assert run_step(home, tag="direct")[0] == 0
    os.environ["BREEZEWAY_RAY_MIN_ROWS"] = "1"
    try:
        code, result = run_step(home, tag="ray")
    finally:
        del os.environ["BREEZEWAY_RAY_MIN_ROWS"]
    assert code == 0, result
    assert content(home / "work/direct/dataset") == content(home / "work/ray/dataset")


def make_in_parts(folder: Path) -> dict[str, str]:
    """A dataset of eight parts; in a process of its own, for Ray stays as it was imported."""
    dataset.PART_ROWS = 400
    contract = load_contract(Settings.shipped_sensors / "plant.toml")
    table = readings(8, 400, bad_share=0.05)
    labels = pa.table(
        {"device": ["machine-01"], "start": [START], "end": [START + np.timedelta64(2, "h")]}
    )
    folder.mkdir()
    dataset.make_dataset([table], DatasetSpec(contract, "q", labels), folder, Settings())
    return content(folder)


def test_a_ray_cluster_of_two_or_four_gives_the_same_bytes(tmp_path, monkeypatch):
    made = {}
    with (
        ray_cluster(ROOT / "include") as cluster,
        ProcessPoolExecutor(mp_context=SPAWN, max_tasks_per_child=1) as pool,
    ):
        made["direct"] = pool.submit(make_in_parts, tmp_path / "direct").result()
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        for workers in (2, 4):
            cluster.add_workers(2)
            made[workers] = pool.submit(make_in_parts, tmp_path / str(workers)).result()
    assert made[2] == made[4] == made["direct"]
    assert len([file for file in made["direct"] if file.startswith("features/")]) == 8


def test_copies_are_left_out_and_counted_and_order_does_not_matter(home):
    table = readings(2, 100)
    fill(home, pa.concat_tables([table.slice(50), table, table.slice(0, 50), table]))
    code, result = run_step(home)
    assert code == 0, result
    assert (result["rows"], result["copies"], result["reasons"]) == (200, 400, {})
    assert result["rows_in"] == 600
    rows = ds.dataset(Path(result["folder"]) / "features").to_table()
    assert rows.select(["device", "time"]).equals(
        rows.select(["device", "time"]).sort_by([("device", "ascending"), ("time", "ascending")])
    )


def test_copies_of_bad_readings_do_not_count_against_the_share(home):
    table = readings(1, 100)
    bad = table.slice(0, 3).set_column(2, "payload", pa.array(["{"] * 3))
    fill(home, pa.concat_tables([table.slice(3), *[bad] * 50]))
    code, result = run_step(home)
    assert code == 0, result
    assert (result["rows"], result["copies"], result["reasons"]) == (97, 147, {"not_json": 3})


@pytest.mark.parametrize(
    ("columns", "quarantined", "said"),
    [
        ("device, time, payload, id", 10, " that arrived later"),
        ("device, time, payload, CAST(id AS TEXT) AS id", 90, ""),
        ("device, time, payload", 90, ""),
    ],
)
def test_of_two_contents_at_a_time_the_later_arrival_is_kept(home, columns, quarantined, said):
    """Without a number of arrival it is the first by its text."""
    table = readings(1, 100)
    (text,) = table["payload"].slice(50, 1).to_pylist()
    arrived = [text.replace('"torque":40', f'"torque":{torque}') for torque in (90, 10, 90)]
    at_50 = pa.concat_tables([table.slice(50, 1)] * 3).set_column(2, "payload", pa.array(arrived))
    fill(home, pa.concat_tables([table.slice(0, 50), table.slice(51), at_50]))
    code, result = run_step(home, f"SELECT {columns} FROM readings")
    assert code == 0, result
    assert (result["rows"], result["copies"]) == (100, 1)
    (row,) = ds.dataset(Path(result["folder"]) / "quarantine").to_table().to_pylist()
    assert json.loads(row["payload"])["torque"] == quarantined
    assert row["message"] == f"time: the device has another reading of that time{said}"


def test_an_unknown_device_is_quarantined(home):
    table = readings(1, 100)
    stranger = table.slice(0, 3).set_column(0, "device", pa.array(["pump-1", "pump-1", ""]))
    fill(home, pa.concat_tables([table, stranger]))
    code, result = run_step(home)
    assert (code, result["reasons"]) == (0, {"unknown_device": 3})


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("DELETE FROM readings", 64, "SELECT"),
        ("SELECT 1; DROP TABLE readings", 64, ""),
        ("SELECT device, time FROM readings", 65, "payload"),
        (QUERY + " WHERE device = 'nobody'", 65, "query: it returned no row"),
        ("SELECT device, time, payload FROM nowhere", 64, "nowhere"),
    ],
)
def test_a_bad_query(home, query, code, message):
    fill(home, readings(1, 50))
    got, result = run_step(home, query)
    assert got == code, result
    assert result["exit_code"] == code and message in result["error"]
    assert not (home / "work/v1/dataset").exists()


def test_all_null_payloads_fail_and_the_evidence_is_kept(home):
    table = readings(1, 50)
    fill(home, table.set_column(2, "payload", pa.nulls(50, pa.string())))
    code, result = run_step(home)
    assert code == 65
    assert "50 of 50 rows were rejected: 50 null_payload (payload: null" in result["error"]
    evidence = home / "work/v1/rejected"
    assert str(evidence) in result["error"]
    assert len(ds.dataset(evidence / "quarantine").to_table()) == 50


def test_batch_expectations(home):
    table = readings(1, 50)
    hot = [
        re.sub(r'"temperature":[0-9.]+', '"temperature":99', text)
        for text in table["payload"].to_pylist()
    ]
    fill(home, table.set_column(2, "payload", pa.array(hot)))
    code, result = run_step(home)
    assert code == 65
    assert "fields.temperature.batch.mean: the mean is 99 °C, expected 20 to 90" in result["error"]


@pytest.mark.parametrize("tag", ["", "a b", "../x", "-x", "a..b", "x.lock", "é", "a/b"])
def test_an_illegal_tag(home, tag):
    home.mkdir()
    code, result = run_step(home, tag=tag)
    assert (code, result["exit_code"]) == (64, 64)
    assert "tag" in result["error"]


def test_a_time_that_cannot_be_read_is_quarantined_with_what_stands_there(home):
    store = fill(home, readings(1, 100))
    with store._transaction() as connection:
        for time in ("soon", "0000-00-00", "9999-12-31T23:59:59-12:00"):
            connection.exec_driver_sql(
                "INSERT INTO readings (device, time) VALUES ('machine-00', ?)", (time,)
            )
    code, result = run_step(home)
    assert (code, result["rows"], result["reasons"]) == (0, 100, {"unreadable_time": 3})
    bad = ds.dataset(Path(result["folder"]) / "quarantine").to_table()
    assert [message.split(",")[0] for message in sorted(bad["message"].to_pylist())] == [
        "time: '0000-00-00'",
        "time: '9999-12-31T23:59:59-12:00'",
        "time: 'soon'",
    ]


def test_a_label_that_is_neither_0_nor_1_is_quarantined(tmp_path):
    text = (Settings.shipped_sensors / "plant.toml").read_text(encoding="utf-8")
    contract = Contract.from_text(text.replace('table = "labels"', 'column = "label"'), "x")
    table = readings(1, 40).append_column("label", pa.array([0, 1, None, 2] * 10, pa.int64()))
    folder = tmp_path / "dataset"
    folder.mkdir()
    with pytest.raises(dataset.DataError, match=r"10 of 40 .*: 10 wrong_type \(label: 2"):
        dataset.make_dataset([table], DatasetSpec(contract, "q"), folder, Settings(threads=1))
    quarantined = ds.dataset(folder / "quarantine").to_table()
    assert set(quarantined["field"].to_pylist()) == {"label"}


def test_killed_at_any_point_a_rerun_gives_the_same_bytes(home):
    fill(home, readings(8, 5000, bad_share=0.05))
    assert run_step(home, tag="calm")[0] == 0
    arguments, environment = command(home, tag="killed")
    work = home / "work/killed"
    for made in (
        ".dataset",
        ".dataset.staging/runs.arrow",
        ".dataset/features",
        ".dataset/manifest.json",
    ):
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None and not (work / made).exists():
            time.sleep(0.002)
        process.kill()
        process.wait()
    assert run_step(home, tag="killed")[0] == 0
    assert content(work / "dataset") == content(home / "work/calm/dataset")
    left = {entry.name for entry in work.iterdir()}
    assert left == {"dataset", "profile.html"}  # the page, because no MLflow takes it


def test_examples_give_their_features_again(tmp_path, monkeypatch):
    """Whole windows, windows cut by a block's end, and devices with fewer readings than one."""
    monkeypatch.setattr(part_module, "BLOCK_ROWS", 64)
    contract = load_contract(Settings.shipped_sensors / "plant.toml")
    table = pa.concat_tables([readings(3, 100), readings(5, 7).slice(21)])
    table = table.append_column("label", pa.nulls(len(table), pa.int64()))
    folder = tmp_path / "dataset"
    folder.mkdir()
    dataset.make_dataset([table], DatasetSpec(contract, "q"), folder, Settings(threads=1))
    examples = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    assert {example["device"] for example in examples} == {f"machine-{d:02d}" for d in range(5)}
    for example in examples:
        parsed = [contract.parser.parse(reading["payload"]) for reading in example["readings"]]
        times = [from_iso(reading["time"]) for reading in example["readings"]]
        features = latest_features(contract, parsed, times)[0]
        expected = [np.nan if value is None else value for value in example["features"]]
        assert features.tobytes() == np.array(expected).tobytes()
