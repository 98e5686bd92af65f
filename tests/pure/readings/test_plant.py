"""The simulated plant gives what its contract describes."""

from collections import Counter
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from breezeway.contract.contract import load_contract
from breezeway.contract.values import Violation
from breezeway.core.days import day_end, day_start
from breezeway.core.settings import Settings
from breezeway.readings.arrow import READINGS
from breezeway.readings.plant import simulate

DAY = date(2026, 1, 5)  # a Monday
SENSORS = Settings.shipped_sensors / "plant.toml"


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


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Asia/Kathmandu", date(2026, 3, 29), 24),
    ],
)
def test_a_day_of_a_zone_has_a_reading_in_each_of_its_minutes(zone, day, hours):
    machine = simulate("machine-01", day, zone=ZoneInfo(zone))
    start, end = day_start(day, ZoneInfo(zone)), day_end(day, ZoneInfo(zone))
    times = machine.readings["time"].to_pylist()
    assert len(times) == 60 * hours
    assert [(time - start) // timedelta(minutes=1) for time in times] == list(range(len(times)))
    assert times[-1] < end
    for label in machine.labels.to_pylist():
        assert start <= label["start"] < label["end"] <= end


def test_machines_are_run_by_the_clock():
    """Their load is highest at one o'clock, though this day began at one in the morning."""
    zone, contract = ZoneInfo("Africa/Cairo"), load_contract(SENSORS)
    hours, pressures = [], []
    for number in range(6):
        machine = simulate(f"machine-{number}", date(2026, 4, 24), zone=zone)
        faults = machine.labels.to_pylist()
        times = machine.readings["time"].to_pylist()
        for time, values in zip(times, parsed(contract, machine.readings), strict=True):
            if not any(fault["start"] <= time < fault["end"] for fault in faults):
                shown = time.astimezone(zone)
                hours.append(shown.hour + shown.minute / 60)
                pressures.append(values["pressure"])
    assert min(hours) == 1
    turn = 2 * np.pi * np.array(hours) / 24
    course = np.column_stack([np.ones_like(turn), np.cos(turn), np.sin(turn)])
    _, east, north = np.linalg.lstsq(course, np.array(pressures))[0]
    assert np.arctan2(north, east) / (2 * np.pi) * 24 % 24 == pytest.approx(13, abs=0.4)


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
