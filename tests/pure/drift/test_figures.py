"""The figures of a day: season taken out, devices apart from their median."""

import numpy as np
import pyarrow as pa
import pytest

from breezeway.drift.figures import MIN_FLEET, figures
from breezeway.drift.hours import DAY, HOUR, Hours

DAYS = 9


def plant(devices: int, days: range, level=lambda device, day, hour: 0.0) -> Hours:
    """A reading each half hour; every second one is one higher."""
    found = [
        (f"d{device}", day * DAY + hour * HOUR + half * HOUR // 2, level(device, day, hour) + half)
        for device in range(devices)
        for day in days
        for hour in range(24)
        for half in range(2)
    ]
    device, time, value = zip(*found, strict=True)
    stamps = pa.array(time, pa.int64()).cast(pa.timestamp("us", "UTC"))
    return Hours(
        pa.table({"device": device, "time": stamps, "value": value}).to_reader(), ["value"]
    )


def by_change(reference: Hours, current: Hours, **options) -> dict:
    found = figures(reference, current, by_device=False, at_once=False, **options)
    return {(figure.change, figure.devices is None): figure for figure in found}


def test_the_days_course_is_taken_out():
    def course(device, day, hour):
        return np.cos(hour / 4)

    found = by_change(plant(1, range(DAYS), course), plant(1, range(DAYS, DAYS + 2), course))
    level = found["level", False]
    assert level.before.shape == (1, DAYS) and level.after.shape == (1, 2)
    assert level.before == pytest.approx(np.zeros((1, DAYS)), abs=1e-9)
    assert level.after == pytest.approx(np.zeros((1, 2)), abs=1e-9)


def test_of_a_fleet_the_median_and_what_sets_each_apart():
    def changed(device, day, hour):
        return 3.0 + (device == 2)

    found = by_change(
        plant(MIN_FLEET, range(DAYS)), plant(MIN_FLEET, range(DAYS, DAYS + 1), changed)
    )
    scale = 0.5  # the standard deviation of readings that are 0 and 1 in turn
    assert found["level", True].after == pytest.approx(np.full((1, 1), 3 / scale))
    assert found["level", False].after[:, 0] == pytest.approx([0, 0, 1 / scale, 0, 0])


def test_fewer_devices_have_no_median():
    found = by_change(
        plant(MIN_FLEET - 1, range(DAYS)), plant(MIN_FLEET - 1, range(DAYS, DAYS + 1))
    )
    assert not any(together for _, together in found)


def test_what_is_left_out_has_no_figure():
    two = plant(2, range(DAYS)), plant(2, range(DAYS, DAYS + 1))
    level = by_change(*two, without=[("d1", "value")])["level", False]
    assert np.isnan(level.after).tolist() == [[False], [True]]


def test_a_device_is_a_unit_where_the_model_is_for_new_ones():
    found = figures(plant(4, range(2)), plant(3, range(2)), by_device=True, at_once=True)
    for figure in found:
        assert (figure.before.shape, figure.after.shape) == ((1, 4), (1, 3))
