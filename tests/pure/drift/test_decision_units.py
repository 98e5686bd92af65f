"""What is compared where days or devices of the reference are few."""

import pyarrow as pa

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
