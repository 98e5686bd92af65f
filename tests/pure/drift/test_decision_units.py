"""What is compared where the reference has few days, other devices or no variation."""

import numpy as np
import pyarrow as pa
import pytest

from breezeway.drift import decision
from breezeway.drift.hours import Hours
from tests.fixtures.presses import found, plant, reference_hours


def test_other_devices_than_the_references_are_compared_as_devices():
    reference, other = reference_hours(plant(2, 0)), plant(2, 1)
    names = pa.array([f"new-{name}" for name in other["device"].to_pylist()])
    renamed = other.set_column(0, "device", names)
    assert found(renamed, reference, by_device=True) == set()
    moved = renamed.set_column(2, "value", pa.compute.add(renamed["value"], 30.0))
    assert (None, "level") in found(moved, reference, by_device=True)


def test_a_reference_of_hours_is_cut_into_shorter_stretches():
    reference = reference_hours(plant(1, 0))
    moved = plant(1, 1, lambda device, value: value + 50, first_day=1)
    assert (None, "level") in found(moved, reference)


def test_some_days_are_too_few_and_are_not_cut_up():
    """Parts of a day differ from each other: a weekend would be drift."""
    reference = reference_hours(plant(5, 0))
    moved = plant(1, 1, lambda device, value: value + 50, first_day=5)
    assert found(moved, reference) == set()


def test_too_short_a_reference_finds_nothing():
    reference = reference_hours(plant(1, 0).slice(0, 3))
    assert found(plant(1, 1, first_day=1), reference) == set()


@pytest.mark.parametrize("usual", [0.0, -1e6])
def test_a_column_that_never_varied_and_now_does_is_found_with_a_finite_effect(usual):
    def steady(value):
        return plant(14, 0, lambda device, values: np.full(144, value))

    changed = plant(2, 0, lambda device, values: np.full(144, usual + 5), first_day=14)
    old, new = (Hours(table.to_reader(), ["value"]) for table in (steady(usual), changed))
    (findings,) = decision.find_drift(old, new, false_discovery_rate=0.02)
    assert (None, "level") in {(finding.device, finding.change) for finding in findings}
    assert np.isfinite([finding.effect for finding in findings]).all()
