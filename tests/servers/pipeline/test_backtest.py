import argparse
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from breezeway.commands import backtest as command
from breezeway.contract.contract import Contract, load_contract
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.detector import scorecard
from breezeway.pipeline import backtest, backtest_report
from breezeway.preprocessing import days
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore
from breezeway.steps import backtest as step
from breezeway.tracking import mlflow_client
from tests.fixtures.plant import CONTRACT
from tests.fixtures.readings import midnight

FIRST = date(2026, 3, 1)
DAYS = 9
EVERY = [FIRST + timedelta(days=n) for n in range(DAYS)]
DATES = (EVERY[5], EVERY[7])
MACHINES = [f"mill-{n}" for n in range(3)]
MINUTES = 15


def plant() -> tuple[pa.Table, list[dict]]:
    """Machines that shake and heat up in a fault of three hours a day; some faults are noted days
    later."""
    generator = np.random.default_rng(11)
    rows, faults = [], []
    for number, day in enumerate(EVERY):
        for machine in MACHINES:
            start = midnight(day) + timedelta(minutes=MINUTES * int(generator.integers(8, 70)))
            end = start + timedelta(hours=3)
            late = midnight(day) + timedelta(days=4) if number % 3 == 0 else None
            faults.append({"device": machine, "start": start, "end": end, "labelled_at": late})
            for n in range(24 * 60 // MINUTES):
                time = midnight(day) + timedelta(minutes=MINUTES * n)
                ill = start <= time < end
                warmth = round(generator.normal(67 if ill else 60, 4), 3)
                torque = round(generator.normal(40, 7 if ill else 3), 3)
                text = json.dumps({"env": {"temperature": warmth}, "torque": torque})
                rows.append({"device": machine, "time": time, "payload": text})
    return pa.Table.from_pylist(rows), faults


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with nine days of history."""
    folder = tmp_path_factory.mktemp("backtest")
    sensors = folder / "sensors.toml"
    text = CONTRACT.format(by="time").replace('column = "label"', 'table = "labels"')
    sensors.write_text(text.replace("interval_seconds = 60", "interval_seconds = 900"))
    settings = Settings(home=folder / "a home", sensors=sensors)
    readings, faults = plant()
    store = RawStore(settings.raw_address)
    store.create()
    store.append(readings, labels=pa.Table.from_pylist(faults))
    for day in EVERY:
        made = folder / str(day)
        made.mkdir()
        days.make_day(settings, load_contract(sensors), day, made)
        history.publish_day(settings, made, day, 1, "made")
    return settings


@pytest.fixture
def contract(home: Settings) -> Contract:
    return load_contract(home.sensors)


def test_only_what_was_known_by_then_is_read(home, contract):
    known = backtest.read_known(home, contract, DATES[0])
    assert len(known.readings) == 5 * len(MACHINES) * 96
    assert known.readings["time"].to_pylist()[-1].date() < DATES[0]
    # The faults of the fourth day were noted three days after the date.
    _, faults = plant()
    expected = [
        (fault["device"], fault["start"])
        for fault in faults
        if (fault["labelled_at"] or fault["end"]) < midnight(DATES[0])
    ]
    found = zip(*(known.labels[name].to_pylist() for name in ("device", "start")), strict=True)
    assert sorted(found) == sorted(expected)
    assert pa.compute.sum(known.readings["label"]).as_py() == len(expected) * 12
    assert len(expected) == 4 * len(MACHINES)


def plant_a_future_row(home: Settings, contract: Contract, folder: Path) -> None:
    """In the partition of a day before the date, a reading of a day after it."""
    days.make_day(home, contract, EVERY[4], folder)
    part = folder / "features" / "part-00000.parquet"
    rows = pq.read_table(part)
    later = pa.compute.add(rows["time"], pa.scalar(timedelta(days=2), pa.duration("us")))
    pq.write_table(pa.concat_tables([rows, rows.set_column(1, "time", later)[-1:]]), part)
    history.publish_day(home, folder, EVERY[4], 1, "with a reading of the future")


def test_no_reading_of_the_future_enters(home, contract, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        folder, whole = tmp_path / "planted", tmp_path / "whole"
        folder.mkdir()
        whole.mkdir()
        plant_a_future_row(home, contract, folder)
        try:
            with pytest.raises(DataError, match=r"1 readings are .* at 2026-03-07 23:45"):
                backtest.judge(home, contract, DATES[0], 2)
            # Nothing but the guard keeps it out.
            patch.setattr(backtest, "refuse_future", lambda *_: None)
            known = backtest.read_known(home, contract, DATES[0])
            assert len(known.readings) == 5 * len(MACHINES) * 96 + 1
        finally:
            days.make_day(home, contract, EVERY[4], whole)
            history.publish_day(home, whole, EVERY[4], 1, "as it was")


def test_no_label_of_the_future_enters(home, contract, monkeypatch):
    labels = LabelStore(home.raw_address).labels()
    monkeypatch.setattr(LabelStore, "labels_of", lambda *_: Leaky(labels))
    with pytest.raises(DataError, match="labels were not known yet, such as that of mill-"):
        backtest.read_known(home, contract, DATES[0])


class Leaky:
    """Labels whose filter lets everything through."""

    def __init__(self, labels: pa.Table):
        self._labels = labels

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        return self._labels[name]

    def filter(self, _: pa.ChunkedArray) -> pa.Table:
        return self._labels


def test_a_label_without_a_moment_is_known_from_the_end_of_its_fault():
    start, end, noted = (midnight(EVERY[n]) for n in (1, 2, 4))
    labels = pa.Table.from_pylist(
        [
            {"device": "a", "start": start, "end": end, "labelled_at": noted},
            {"device": "b", "start": start, "end": end, "labelled_at": None},
        ]
    )
    assert backtest.known_at(labels).to_pylist() == [noted, end]


def ask(home: Settings, *words: str) -> dict:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    first, last = map(str, DATES)
    given = ["--first", first, "--last", last, "--every", "2", "--days", "2", *words]
    return command.run(parser.parse_args(given), home)


def test_the_same_table_twice(home):
    once, again = ask(home), ask(home)
    assert once == again
    for figures in once["dates"]:
        assert figures["rows"] == 2 * len(MACHINES) * 96
        assert figures["events"] >= 2 * len(MACHINES)
        assert figures["average_precision"] > 0.3  # chance is an eighth
        assert figures["events_hit"] > 0
        assert 0 <= figures["median_delay_seconds"] < 3 * 3600
    assert once["dates"][0]["known_rows"] < once["dates"][1]["known_rows"]


def test_a_period_that_is_not_over_is_refused(home, contract):
    today = datetime.now(UTC).date()
    last = f"The last date whose days are over is {today - timedelta(days=2)}; {today} can"
    with pytest.raises(UsageError, match=last):
        backtest.judge(home, contract, today, 2)
    with pytest.raises(UsageError, match="1 to 366 days, not on 100000"):
        backtest.judge(home, contract, EVERY[5], 100_000)


def test_a_range_with_such_a_period_is_refused_before_any_work(home, monkeypatch):
    monkeypatch.setattr(command, "judge", lambda *date: pytest.fail("no date is judged"))
    with pytest.raises(UsageError, match="are not over yet"):
        ask(home, "--last", f"{datetime.now(UTC):%Y-%m-%d}")
    with pytest.raises(UsageError, match="--days 0: expected 1 to 366"):
        ask(home, "--days", "0")


def test_a_day_that_is_not_made_is_refused(home, contract):
    with pytest.raises(UsageError, match="2026-03-10"):
        backtest.judge(home, contract, EVERY[8] + timedelta(days=1), 2)


def test_delays_count_from_the_start_of_an_event():
    at = np.datetime64("2026-01-01", "us") + np.arange(10) * np.timedelta64(1, "m")
    label = np.array([0, 1, 1, 1, 0, 0, 1, 1, 1, 0])
    rows = scorecard.rows_of({"device": ["a"] * 10, "time": at, "label": label})
    alarm = np.array([1, 0, 0, 1, 1, 0, 1, 1, 0, 0], bool)
    assert backtest.detection_delays(rows, alarm).tolist() == [120, 0]
    assert backtest.detection_delays(rows, np.zeros(10, bool)).tolist() == []


def test_the_step_keeps_table_and_picture_and_the_plan_learns_its_speed(home, mlflow_server):
    settings = home.model_copy(update={"mlflow_url": mlflow_server, "run_id": "backtest/r1"})
    assert ask(settings, "--dry-run")["seconds"] == "unknown"

    def run(moment: date) -> dict:
        return step.run(argparse.Namespace(date=moment, days=2), settings)

    later, earlier = run(DATES[1]), run(DATES[0])
    assert (later["dates"], earlier["dates"]) == (1, 2)
    client = mlflow_client.client(settings)

    def kept(run_id: str, name: str) -> bytes:
        return Path(client.download_artifacts(run_id, name)).read_bytes()

    table = json.loads(kept(earlier["run_id"], "backtest.json"))
    assert [figures["date"] for figures in table] == [str(each) for each in DATES]
    assert table == ask(settings)["dates"]
    page = kept(earlier["run_id"], "backtest.html").decode()
    assert all(str(each) in page for each in DATES)

    before = {name: kept(earlier["run_id"], name) for name in backtest_report.REPORTS}
    assert run(DATES[0]) == earlier  # in the same run
    assert {name: kept(earlier["run_id"], name) for name in backtest_report.REPORTS} == before
    tags = client.get_run(earlier["run_id"]).data.tags
    assert tags["breezeway.step"] == "backtest"
    assert tags["breezeway.airflow_run"] == "backtest/r1"
    assert len(json.loads(tags["breezeway.reports"])) == 3

    plan = ask(settings, "--dry-run")
    assert [each["date"] for each in plan["dates"]] == [str(each) for each in DATES]
    assert [each["known_rows"] for each in plan["dates"]] == [5 * 288, 7 * 288]
    assert [each["judged_rows"] for each in plan["dates"]] == [2 * 288, 2 * 288]
    assert [each["days_to_make"] for each in plan["dates"]] == [0, 0]
    assert plan["rows"] == 16 * 288
    assert 0 < plan["seconds"] < 1000
