"""What is drift and what is a plant's usual day."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from breezeway.drift import decision
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


def test_findings_are_confirmed_by_column_and_device():
    def finding(column, device, change="level"):
        return decision.Finding(column, device, change, 1.0, 1e-6)

    before = [[finding("oil", "a")], [], [finding("oil", "a"), finding("oil", None)]]
    tonight = [finding("oil", "a", "spread"), finding("oil", None), finding("gas", "a")]
    assert decision.confirmed([*before, tonight], 0) == tonight
    assert decision.confirmed([*before, tonight], 1) == tonight[:2]
    assert decision.confirmed([*before, tonight], 2) == tonight[:1]
    assert decision.confirmed([*before, []], 0) == []


@pytest.mark.parametrize("usual", [0.0, 3.0, -1e6])
def test_a_column_that_never_varied_and_now_does_is_found_with_a_finite_effect(usual):
    def steady(value):
        return plant(14, 0, lambda device, values: np.full(144, value))

    changed = plant(2, 0, lambda device, values: np.full(144, usual + 5), first_day=14)
    old, new = (Hours(table.to_reader(), ["value"]) for table in (steady(usual), changed))
    (findings,) = decision.find_drift(old, new, false_discovery_rate=0.02)
    assert (None, "level") in {(finding.device, finding.change) for finding in findings}
    assert np.isfinite([finding.effect for finding in findings]).all()
