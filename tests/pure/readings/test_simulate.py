import argparse
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from breezeway.contract.contract import load_contract
from breezeway.contract.parser import Violation
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.readings import simulate as simulation
from breezeway.readings.arrow import READINGS
from breezeway.readings.simulate import simulate
from breezeway.readings.store import RawStore

DAY = date(2026, 1, 5)  # a Monday
SENSORS = Settings.shipped_sensors / "plant.toml"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    monkeypatch.delenv("BREEZEWAY_RAW_URL", raising=False)
    return Settings.from_environment()


def run(settings, *arguments):
    parser = argparse.ArgumentParser()
    simulation.add_arguments(parser)
    return simulation.run(parser.parse_args(["--end", "2026-01-07", *arguments]), settings)


def stored(settings):
    query = "SELECT * FROM readings ORDER BY device, time"
    return pa.concat_tables(RawStore(settings.raw_address).stream(query))


def parsed(contract, readings):
    return [contract.parser.parse(payload) for payload in readings["payload"].to_pylist()]


def test_a_reading_a_minute_as_the_contract_says():
    contract = load_contract(SENSORS)
    machine = simulate("machine-01", DAY)
    contract.check_device("machine-01")
    assert machine.readings.schema == READINGS
    assert len(parsed(contract, machine.readings)) == 1440
    seconds = np.diff(machine.readings["time"].cast(pa.int64()).to_numpy()) / 1e6
    assert set(seconds) == {60.0}
    lengths = {len(values["vibration"]) for values in parsed(contract, machine.readings)}
    assert len(lengths) > 2


def test_the_batch_is_what_the_contract_expects():
    contract = load_contract(SENSORS)
    values = [v for n in range(1, 4) for v in parsed(contract, simulate(f"m-{n}", DAY).readings)]
    for name in ("temperature", "pressure"):
        lowest, highest = contract.fields[name].batch.mean
        assert lowest < np.mean([v[name] for v in values]) < highest


def test_a_day_depends_on_seed_machine_and_day_alone():
    first = simulate("machine-01", DAY)
    assert simulate("machine-01", DAY) == first
    assert simulate("machine-02", DAY).readings != first.readings
    assert simulate("machine-01", DAY + timedelta(days=1)).readings != first.readings
    assert simulate("machine-01", DAY, seed=1).readings != first.readings


def test_every_day_has_a_fault_that_lies_within_it():
    for ago in range(20):
        machine = simulate("machine-01", DAY - timedelta(days=ago))
        assert machine.labels.num_rows >= 1
        assert {t.date() for t in machine.labels["start"].to_pylist()} == {machine.day}
        assert {t.date() for t in machine.labels["end"].to_pylist()} <= {
            machine.day,
            machine.day + timedelta(days=1),
        }
        minutes = pc.minutes_between(machine.labels["start"], machine.labels["end"])
        assert pc.min(minutes).as_py() >= 50


def test_less_happens_at_weekends():
    def mean_power(day):
        values = parsed(load_contract(SENSORS), simulate("machine-01", day).readings)
        return np.mean([v["torque"] * v["rotational_speed"] for v in values])

    assert mean_power(DAY) > 1.2 * mean_power(DAY - timedelta(days=1))


def test_drift_moves_the_thermometer_and_nothing_else():
    contract = load_contract(SENSORS)
    before, after = (
        parsed(contract, simulate("machine-01", DAY, drift=drift).readings) for drift in (0.0, 5.0)
    )
    for a, b in zip(before, after, strict=True):
        assert b["temperature"] - a["temperature"] == pytest.approx(5, abs=0.011)
        assert b["pressure"] == a["pressure"]


def test_bad_payloads_are_bad_in_many_ways_and_the_rest_is_untouched():
    contract = load_contract(SENSORS)
    good = simulate("machine-01", DAY).readings["payload"].to_pylist()
    spoilt = simulate("machine-01", DAY, bad_share=0.5).readings["payload"].to_pylist()
    reasons = Counter()
    for before, after in zip(good, spoilt, strict=True):
        if after != before:
            with pytest.raises(Violation) as caught:
                contract.parser.parse(after)
            reasons[caught.value.reason] += 1
    assert sum(reasons.values()) == 720
    assert len(reasons) >= 7


def test_the_store_is_filled_once(settings):
    first = run(settings, "--devices", "2", "--days", "2")
    assert first["readings"] == 2 * 2 * 1440
    assert first["faults"] >= 4
    assert run(settings, "--devices", "2", "--days", "2")["readings"] == 0
    table = stored(settings)
    assert table.num_rows == 2 * 2 * 1440
    assert set(table["device"].to_pylist()) == {"machine-01", "machine-02"}
    assert table["time"][-1].as_py().date() == date(2026, 1, 6)


def test_more_days_and_machines_add_what_is_missing(settings):
    run(settings, "--devices", "1", "--days", "1")
    assert run(settings, "--devices", "2", "--days", "2")["readings"] == 3 * 1440


def test_drift_begins_where_it_is_told(settings):
    run(settings, "--devices", "1", "--days", "2", "--drift", "30")
    contract = load_contract(SENSORS)
    temperatures = np.array([v["temperature"] for v in parsed(contract, stored(settings))])
    assert temperatures[1440:].mean() - temperatures[:1440].mean() > 20


def test_a_day_is_not_simulated_a_second_time_with_other_arguments(settings):
    run(settings, "--devices", "1", "--days", "1")
    with pytest.raises(UsageError, match="machine-01 on 2026-01-06"):
        run(settings, "--devices", "1", "--days", "1", "--seed", "1")
    assert stored(settings).num_rows == 1440


@pytest.mark.parametrize(
    "arguments",
    [
        ("--devices", "0"),
        ("--devices", "100"),
        ("--days", "0"),
        ("--seed", "-1"),
        ("--bad-share", "1.1"),
        ("--bad-share", "nan"),
        ("--drift", "inf"),
    ],
)
def test_arguments_out_of_bounds_are_named(settings, arguments):
    with pytest.raises(UsageError, match=arguments[0]):
        run(settings, *arguments)


def test_a_run_that_is_killed_is_finished_by_the_next(settings, tmp_path):
    script = """
import argparse, sys
from breezeway.readings import simulate
from breezeway.readings.store import RawStore
from breezeway.core.settings import Settings
append = RawStore.append
def and_tell(*arguments, **options):
    count = append(*arguments, **options)
    print(count, flush=True)
    return count
RawStore.append = and_tell
parser = argparse.ArgumentParser()
simulate.add_arguments(parser)
simulate.run(
    parser.parse_args(["--end", "2026-01-07", "--devices", "2", "--days", "20"]),
    Settings.from_environment(),
)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    rest = run(settings, "--devices", "2", "--days", "20")["readings"]
    assert 0 < rest < 40 * 1440
    table = stored(settings)
    assert table.num_rows == 40 * 1440
    whole = pa.concat_tables(
        simulate(f"machine-{number:02}", date(2026, 1, 7) - timedelta(days=ago)).readings
        for number in (1, 2)
        for ago in range(20, 0, -1)
    )
    assert table == whole
