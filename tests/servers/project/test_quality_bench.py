"""The bench of quality judges rows that no model or baseline of a device has seen."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from bench import quality, quality_data, quality_page
from breezeway.detector.scorecard import Scorecard

HEADER = (
    "datetime;Accelerometer1RMS;Accelerometer2RMS;Current;Pressure;Temperature;Thermocouple;"
    "Voltage;Volume Flow RateRMS;anomaly;changepoint"
)
ROWS = 700


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory):
    """Files as those of SKAB: three that are labelled, and one without labels."""
    folder = tmp_path_factory.mktemp("skab")
    for number, name in enumerate(("valve1/0", "valve1/1", "other/1", "anomaly-free/all")):
        file = (folder / name).with_suffix(".csv")
        file.parent.mkdir(exist_ok=True)
        times = np.datetime64("2020-03-09T10:00:00", "s") + (
            np.arange(ROWS) + 10_000 * number
        ).astype("timedelta64[s]")
        labels = "" if name.startswith("anomaly-free") else ";{};0.0"
        lines = [
            f"{time}".replace("T", " ") + f";0.02;0.04;1.3;0.05;79.3;26.0;233.0;{row % 30}.0"
            + labels.format("1.0" if row > 550 else "0.0")
            for row, time in enumerate(times)
        ]  # fmt: skip
        header = HEADER if labels else HEADER.partition(";anomaly")[0]
        file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    with quality_data.loaded("skab", folder, threads=1) as found:
        yield found


def test_a_random_start_is_cut_off_each_labelled_file(readings):
    once, again, other = (readings.cut(seed) for seed in (0, 0, 1))
    assert once.equals(again)
    assert len(once) != len(other)
    counts = {
        each["values"]: each["counts"] for each in pc.value_counts(once["device"]).to_pylist()
    }
    assert set(counts) == {"valve1/0", "valve1/1", "other/1"}
    assert all(ROWS - quality_data.MOST_CUT <= count < ROWS for count in counts.values())
    assert len(set(counts.values())) == 3


def test_a_devices_own_baseline_is_neither_learned_from_nor_scored(readings):
    raw = readings.cut(0)
    assert raw["label"].null_count == 3 * quality_data.BASELINE
    problem = readings.problem(raw)
    rows = problem.table.rows
    assert len(rows.label) == len(raw) - 3 * quality_data.BASELINE
    for device in ("valve1/0", "other/1"):
        own = rows.time[rows.names[rows.device] == device]
        first = pc.min(raw.filter(pc.equal(raw["device"], device))["time"]).as_py().timestamp()
        assert own.min() / 1_000_000 == first + quality_data.BASELINE


def test_another_seed_deals_groups_otherwise_and_the_rows_stay(readings):
    problem = readings.problem(readings.cut(0))
    one, two = problem.grouped(1), problem.grouped(2)
    assert one.names.tolist() != two.names.tolist()
    assert (one.label == problem.table.rows.label).all()
    assert problem.contract.split.by == "device"


def test_what_is_to_be_reached_and_what_the_page_shows_is_measured():
    card = Scorecard(**dict.fromkeys([field.name for field in fields(Scorecard)], 1))
    measured = quality._figures(card, 60)
    found = {"cards": {"model": quality._spread([measured, measured])}}
    targets = quality._targets(dict.fromkeys(quality.WANTED, found))
    assert {target.what.partition(":")[0] for target in targets} == {"skab", "ai4i", "plant"}
    shown = {figure for figure, _ in filter(None, quality_page.COLUMNS.values())}
    assert shown <= measured.keys()


def test_public_data_that_is_not_there_is_skipped_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("BREEZEWAY_TEST_DATA", str(tmp_path))
    assert quality.measure({"skab": 1, "ai4i": 1}) == {}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[0].startswith("skab is skipped: BREEZEWAY_TEST_DATA names no folder")
