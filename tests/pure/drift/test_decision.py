"""What is drift and what is a plant's usual day."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from breezeway.drift import decision
from breezeway.drift.faults import sensor_faults
from breezeway.drift.hours import DAY, Hours

DEVICES = [f"press-{number}" for number in range(8)]


def plant(days: int, seed: int, change=lambda device, value: value, first_day: int = 0) -> pa.Table:
    """Readings every ten minutes of eight devices, each with a level and days of its own."""
    generator = np.random.default_rng(seed)
    day_level = generator.normal(0, 0.5, (len(DEVICES), days, 1))
    wander = np.cumsum(generator.normal(0, 0.3, (len(DEVICES), days, 144)), axis=2)  # alike
    values = np.arange(len(DEVICES))[:, None, None] + day_level + wander
    for number, device in enumerate(DEVICES):
        for day in range(days):
            values[number, day] = change(device, values[number, day])
    time = np.arange(days * 144) * 600_000_000 + first_day * DAY
    stamps = pa.array(np.tile(time, len(DEVICES))).cast(pa.timestamp("us", "UTC"))
    names = np.repeat(DEVICES, days * 144)
    return pa.table({"device": names, "time": stamps, "value": values.ravel()})


def hours_of(table: pa.Table, unit: int) -> Hours:
    return Hours(table.to_reader(), ["value"], unit)


@cache
def usual() -> tuple[Hours, int]:
    """Two weeks of nothing but usual days, and their unit."""
    return reference_hours(plant(14, seed=0))


def reference_hours(reference: pa.Table) -> tuple[Hours, int]:
    time = reference["time"].cast(pa.int64()).to_numpy()
    unit = decision.unit_length(int(time.min()), int(time.max()))
    return hours_of(reference, unit), unit


def found(current: pa.Table, reference: pa.Table | None = None, by_device: bool = False) -> set:
    old, unit = reference_hours(reference) if reference else usual()
    new = hours_of(current, unit)
    (findings,) = decision.find_drift(old, new, false_discovery_rate=0.02, by_device=by_device)
    return {(finding.device, finding.change) for finding in findings}


def test_quiet_days_are_no_drift_though_each_row_by_itself_is_unlikely():
    # A test that took rows for independent would find each of these.
    assert [seed for seed in range(1, 4) if found(plant(1, seed, first_day=14))] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda device, value: value + 6, (None, "level")),
        (lambda device, value: value + 12 * (device == "press-3"), ("press-3", "level")),
        (lambda device, value: value.mean() + 5 * (value - value.mean()), (None, "spread")),
        (lambda device, value: np.where(np.arange(144) % 2, np.nan, value), (None, "missing")),
    ],
)
def test_what_has_changed_is_named(change, expected):
    findings = found(plant(3, 1, change, first_day=14))
    assert expected in findings
    if expected[0]:
        assert {device for device, _ in findings} <= {None, expected[0]}


def test_what_is_sure_but_too_small_to_matter_is_left_out():
    def constant(level: float):
        return lambda device, value: level + np.tile([-1.0, 1.0], 72) + 1e-6 * value

    reference = plant(14, 0, constant(0.0))
    assert found(plant(3, 1, constant(0.1), first_day=14), reference) == set()
    assert (None, "level") in found(plant(3, 1, constant(0.5), first_day=14), reference)


def test_other_devices_than_the_references_are_compared_as_devices():
    reference = plant(2, 0)
    renamed = plant(2, 1).set_column(
        0, "device", pa.array([f"new-{name}" for name in plant(2, 1)["device"].to_pylist()])
    )
    assert found(renamed, reference, by_device=True) == set()
    moved = renamed.set_column(2, "value", pa.compute.add(renamed["value"], 30.0))
    assert (None, "level") in found(moved, reference, by_device=True)


def test_a_reference_of_hours_is_cut_into_shorter_stretches():
    reference = plant(1, 0)
    moved = plant(1, 1, lambda device, value: value + 50, first_day=1)
    assert (None, "level") in found(moved, reference)


def test_some_days_are_too_few_and_are_not_cut_up():
    """Parts of a day differ from each other: a weekend would be drift."""
    reference = plant(5, 0)
    moved = plant(1, 1, lambda device, value: value + 50, first_day=5)
    assert found(moved, reference) == set()


def test_too_short_a_reference_finds_nothing():
    reference = plant(1, 0).slice(0, 3)
    assert found(plant(1, 1, first_day=1), reference) == set()


def test_a_finding_reads_as_a_sentence():
    finding = decision.Finding("oil", "press-3", "level", 1.5, 1e-6)
    assert str(finding) == "oil of press-3 is +1.50 standard deviations from its level (p = 1e-06)"


# -- nights, with a season


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


def test_findings_are_confirmed_by_column_and_device():
    def finding(column, device, change="level"):
        return decision.Finding(column, device, change, 1.0, 1e-6)

    before = [[finding("oil", "a")], [], [finding("oil", "a"), finding("oil", None)]]
    tonight = [finding("oil", "a", "spread"), finding("oil", None), finding("gas", "a")]
    assert decision.confirmed([*before, tonight], 0) == tonight
    assert decision.confirmed([*before, tonight], 1) == tonight[:2]
    assert decision.confirmed([*before, tonight], 2) == tonight[:1]
    assert decision.confirmed([*before, []], 0) == []


def test_any_batch_size_and_what_is_not_finite():
    """Large values with a small spread, infinities and NaN: the sums are those of numpy."""
    generator = np.random.default_rng(3)
    value = 1e9 + generator.normal(size=480)
    value[::7] = np.nan
    value[5] = np.inf
    time = np.arange(480) * (DAY // 48)
    table = pa.table(
        {
            "device": ["a"] * 480,
            "time": pa.array(time).cast(pa.timestamp("us", "UTC")),
            "value": value,
        }
    )
    cubes = [Hours(table.to_reader(n), ["value"]).cube("value") for n in (7, 480)]
    finite = np.where(np.isfinite(value), value, np.nan).reshape(1, 10, 24, 2)
    for cube in cubes:
        np.testing.assert_allclose(cube.level, np.nanmean(finite, axis=3))
        there = np.isfinite(finite).all(axis=3)
        expected = np.log(np.nanstd(finite, axis=3)[there])
        np.testing.assert_allclose(cube.spread[there], expected, rtol=1e-6)
        np.testing.assert_allclose(cube.missing, np.isnan(finite).mean(axis=3))


@pytest.mark.parametrize("usual", [0.0, 3.0, -1e6])
def test_a_column_that_never_varied_and_now_does_is_found_with_a_finite_effect(usual):
    def steady(value):
        return plant(14, 0, lambda device, values: np.full(144, value))

    changed = plant(2, 0, lambda device, values: np.full(144, usual + 5), first_day=14)
    old, new = (Hours(table.to_reader(), ["value"]) for table in (steady(usual), changed))
    (findings,) = decision.find_drift(old, new, false_discovery_rate=0.02)
    assert (None, "level") in {(finding.device, finding.change) for finding in findings}
    assert np.isfinite([finding.effect for finding in findings]).all()
