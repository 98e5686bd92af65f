"""A sensor that is silent, stuck, new or wrongly timed is a fault, not drift."""

import numpy as np
import pyarrow as pa

from breezeway.drift.faults import sensor_faults
from breezeway.drift.hours import DAY, HOUR, Hours

DAYS = 10
EACH = 6
"""Readings an hour."""


def day(number: int, devices=("a", "b"), hours=range(24), value=None, each=EACH) -> pa.Table:
    count = len(hours) * each
    generator = np.random.default_rng(number)
    time = [number * DAY + hour * HOUR + n * HOUR // each for hour in hours for n in range(each)]
    stamps = pa.array(time, pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.concat_tables(
        pa.table(
            {
                "device": [device] * count,
                "time": stamps,
                "value": generator.normal(size=count) if value is None else np.full(count, value),
            }
        )
        for device in devices
    )


def faults(*tonight: pa.Table) -> dict[str, str]:
    history = pa.concat_tables(day(number) for number in range(DAYS))
    reference, current = (
        Hours(table.to_reader(), ["value"]) for table in (history, pa.concat_tables(tonight))
    )
    return {fault.device: fault.fault for fault in sensor_faults(reference, current, DAYS)}


def test_a_quiet_day_has_none():
    assert faults(day(DAYS)) == {}


def test_a_device_that_says_nothing_for_a_quarter_of_its_hours_is_silent():
    assert faults(day(DAYS, ["a"]), day(DAYS, ["b"], range(18))) == {"b": "silent"}
    assert faults(day(DAYS, ["a"]), day(DAYS, ["b"], range(19))) == {}


def test_a_device_without_a_reading_is_silent():
    assert faults(day(DAYS, ["a"])) == {"b": "silent"}


def test_a_column_that_stopped_varying_is_stuck():
    stuck = [day(DAYS, ["b"], range(4), value=1.0), day(DAYS, ["b"], range(4, 24))]
    assert faults(day(DAYS, ["a"]), *stuck) == {"b": "stuck"}


def test_an_hour_with_far_more_readings_than_usual_comes_of_a_wrong_clock():
    crowd = day(DAYS, ["b"], range(5, 6), each=2 * EACH)
    rest = day(DAYS, ["b"], [hour for hour in range(24) if hour != 5])
    assert faults(day(DAYS, ["a"]), rest, crowd) == {"b": "clock"}


def test_a_device_that_was_not_in_the_training_data_is_new():
    assert faults(day(DAYS, ["a", "b", "c"])) == {"c": "new device"}
