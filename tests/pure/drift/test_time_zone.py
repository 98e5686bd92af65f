"""Shifts go by the clock: nights in which clocks are set show no drift and no fault."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from breezeway.core.days import day_end, day_start
from breezeway.drift import decision
from breezeway.drift.faults import sensor_faults
from breezeway.drift.hours import Hours

EPOCH = date(1970, 1, 1)
BERLIN, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
FORWARD, BACK = date(2026, 3, 29), date(2026, 10, 25)
EACH = timedelta(minutes=10)
DEVICES = 6
WEEKS = 5
RATE = 0.5 / decision.MONTH_DAYS


@cache
def shifts(first: date, last: date, zone: ZoneInfo) -> pa.Table:
    """A reading every ten minutes, of machines that run from 06:00 to 14:00 by the clock."""
    generator = np.random.default_rng(first.toordinal())
    start, end = day_start(first, zone), day_end(last, zone)
    times = [start + n * EACH for n in range((end - start) // EACH)]
    works = np.array([6 <= time.astimezone(zone).hour < 14 for time in times])
    days = np.array([(time.astimezone(zone).date() - first).days for time in times])
    own = generator.normal(0, 0.2, (DEVICES, days.max() + 1))[:, days]
    value = 5.0 * works + own + generator.normal(0, 0.5, own.shape)
    return pa.table(
        {
            "device": np.repeat([f"press-{number}" for number in range(DEVICES)], len(times)),
            "time": pa.array(times * DEVICES, pa.timestamp("us", "UTC")),
            "value": value.ravel(),
        }
    )


def hours(table: pa.Table, zone: ZoneInfo) -> Hours:
    return Hours(table.to_reader(max_chunksize=5000), ["value"], zone=zone)


@cache
def sides(change: date, counted_in: ZoneInfo) -> tuple[Hours, Hours]:
    """Five weeks until two days before the clocks are set, and the five days around that."""
    before = shifts(change - timedelta(days=7 * WEEKS + 2), change - timedelta(days=3), BERLIN)
    around = shifts(change - timedelta(days=2), change + timedelta(days=2), BERLIN)
    return hours(before, counted_in), hours(around, counted_in)


@pytest.mark.parametrize("change", [FORWARD, BACK])
def test_a_shift_that_goes_on_at_its_hour_is_no_drift(change: date):
    reference, current = sides(change, BERLIN)
    assert reference.weekly and len(current.units) == 5
    found = decision.find_drift(reference, current, false_discovery_rate=RATE, nights=3)
    assert found == [[]] * 5
    reference, current = sides(change, UTC_ZONE)
    found = decision.find_drift(reference, current, false_discovery_rate=RATE, nights=3)
    assert {finding.change for night in found for finding in night} == {"profile"}


@pytest.mark.parametrize("change", [FORWARD, BACK])
def test_the_night_in_which_clocks_are_set_shows_no_sensor_fault(change: date):
    reference, current = sides(change, BERLIN)
    for day in (change - timedelta(days=1), change, change + timedelta(days=1)):
        assert sensor_faults(reference, current, (day - EPOCH).days) == []


def test_an_hour_that_clocks_show_twice_has_the_readings_of_one():
    rows = hours(shifts(BACK, BACK, BERLIN), BERLIN).rows()
    assert rows.shape == (DEVICES, 1, 24)
    assert np.all(rows == 6)


def test_an_hour_that_clocks_do_not_show_has_no_number_of_readings():
    rows = hours(shifts(FORWARD, FORWARD, BERLIN), BERLIN).rows()
    assert np.flatnonzero(np.isnan(rows[0, 0])).tolist() == [2]
    assert np.nansum(rows) == DEVICES * 23 * 6


def test_a_device_that_is_silent_on_such_a_night_is_named():
    reference, _ = sides(FORWARD, BERLIN)
    night = shifts(FORWARD, FORWARD, BERLIN)
    quiet = night.filter(pa.array([name != "press-3" for name in night["device"].to_pylist()]))
    found = sensor_faults(reference, hours(quiet, BERLIN), (FORWARD - EPOCH).days)
    assert [(fault.device, fault.fault) for fault in found] == [("press-3", "silent")]


def test_a_wrong_clock_at_an_end_of_the_calendar_is_counted():
    times = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)]
    table = pa.table(
        {
            "device": ["a", "a"],
            "time": pa.array(times, pa.timestamp("us", "UTC")),
            "value": [1.0, 2],
        }
    )
    counted = Hours(table.to_reader(), ["value"], zone=ZoneInfo("America/Chicago"))
    assert len(counted.units) == 2
