"""What is drift, and what is a season: nights beside four weeks that have one."""

import numpy as np
import pyarrow as pa
import pytest

from breezeway.drift import decision
from breezeway.drift.faults import sensor_faults
from breezeway.drift.hours import DAY, Hours


def season(days: int, seed: int, first_day: int = 0, devices: int = 6) -> np.ndarray:
    """A reading every half hour: float64 (devices, days * 48)."""
    generator = np.random.default_rng(seed)
    moment = np.arange(days * 48)
    working = np.where((first_day + moment // 48) % 7 < 5, 1.0, 0.3)
    course = 4 * working * np.sin(2 * np.pi * moment / 48)
    own = np.repeat(generator.normal(0, 0.2, (devices, days)), 48, axis=1)
    level = np.arange(devices)[:, None] * 10
    return level + course + own + generator.normal(0, 0.5, (devices, len(moment)))


def hours(values: np.ndarray, first_day: int = 0) -> Hours:
    devices, readings = values.shape
    time = first_day * DAY + np.arange(readings) * (DAY // 48)
    table = pa.table(
        {
            "device": np.repeat([f"press-{number}" for number in range(devices)], readings),
            "time": pa.array(np.tile(time, devices)).cast(pa.timestamp("us", "UTC")),
            "value": values.ravel(),
        }
    )
    return Hours(table.to_reader(max_chunksize=1000), ["value"])


REFERENCE_DAYS = 28
RATE = 0.5 / decision.MONTH_DAYS


@pytest.fixture(scope="module")
def weeks() -> Hours:
    return hours(season(REFERENCE_DAYS, seed=0))


def nights_of(weeks: Hours, values: np.ndarray, **options) -> list[list[decision.Finding]]:
    new = hours(values, REFERENCE_DAYS)
    return decision.find_drift(weeks, new, false_discovery_rate=RATE, nights=3, **options)


def new_days(days: int, seed: int = 1) -> np.ndarray:
    return season(days, seed, first_day=REFERENCE_DAYS)


def test_weekends_and_nights_are_no_drift(weeks):
    assert weeks.weekly
    found = nights_of(weeks, new_days(28))
    assert len(found) == 28
    assert sum(map(bool, found)) <= 1
    replayed = decision.replay(weeks, false_discovery_rate=RATE, nights=3)
    assert len(replayed) == REFERENCE_DAYS
    assert sum(map(bool, replayed)) <= 1


def test_one_device_of_six_is_named_for_what_has_changed(weeks):
    def places(values):
        return [{(f.device, f.change) for f in night} for night in nights_of(weeks, values)]

    shifted, wide, flat = (new_days(4) for _ in range(3))
    shifted[2] += 3
    hour = wide[3].reshape(-1, 2)
    wide[3] = (hour.mean(axis=1, keepdims=True) + 4 * (hour - hour.mean(1, keepdims=True))).ravel()
    flat[4] = flat[4].mean() + np.random.default_rng(5).normal(0, 0.5, flat.shape[1])
    of_shifted, of_wide, of_flat = (places(values) for values in (shifted, wide, flat))
    assert all(("press-2", "level") in night for night in of_shifted)
    assert ("press-3", "spread") in of_wide[-1]
    assert all(("press-4", "profile") in night for night in of_flat)
    named = {device for night in of_shifted + of_wide + of_flat for device, _ in night}
    assert named <= {None, "press-2", "press-3", "press-4"}


def test_a_small_change_is_found_by_several_nights_together(weeks):
    values = new_days(4, seed=6)
    values[1] += 0.6
    found = [
        bool([f for f in night if f.device == "press-1"]) for night in nights_of(weeks, values)
    ]
    assert (found[0], found[-1]) == (False, True)


def test_columns_of_a_device_at_fault_are_left_out(weeks):
    values = new_days(2)
    values[0] = 5.0
    assert {f.device for night in nights_of(weeks, values) for f in night} == {"press-0"}
    faults = sensor_faults(weeks, hours(values, REFERENCE_DAYS), REFERENCE_DAYS + 1)
    assert [(fault.device, fault.fault, fault.columns) for fault in faults] == []
    without = {("press-0", "value")}
    assert nights_of(weeks, values, without=without) == [[], []]
