"""Rows are summed up by device and hour, and what is not finite is missing."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from breezeway.core.days import UTC_ZONE
from breezeway.drift.hours import DAY, HOUR, Hours, on_the_clock

MINUTE = HOUR // 60


def rows(*values: tuple[str, int, float]) -> pa.RecordBatchReader:
    """Of (device, microsecond, value)."""
    device, time, value = zip(*values, strict=True)
    stamps = pa.array(time, pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.table({"device": device, "time": stamps, "value": value}).to_reader()


def test_an_hour_has_its_mean_spread_and_missing_share():
    hours = Hours(
        rows(("a", 0, 1.0), ("a", MINUTE, 3.0), ("a", 2 * MINUTE, np.nan), ("a", HOUR, np.inf)),
        ["value"],
    )
    cube = hours.cube("value")
    assert cube.level.shape == (1, 1, 24)
    assert (cube.level[0, 0, 0], cube.spread[0, 0, 0]) == (2.0, 0.0)  # the logarithm of 1
    assert cube.missing[0, 0, :2] == pytest.approx([1 / 3, 1.0])
    assert np.isnan(cube.level[0, 0, 1:]).all()


def test_devices_and_days_are_in_order_and_empty_hours_have_no_rows():
    hours = Hours(rows(("b", 3 * DAY, 1.0), ("a", 0, 1.0), ("b", 0, 2.0)), ["value"])
    assert hours.devices.tolist() == ["a", "b"]
    assert hours.units.tolist() == [0, 3]
    assert hours.rows()[:, :, 0].tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert hours.rows()[:, :, 1:].sum() == 0


def test_an_hour_without_variation_is_constant_and_has_no_spread():
    hours = Hours(rows(*(("a", n * MINUTE, 5.0) for n in range(3))), ["value"])
    cube = hours.cube("value")
    assert cube.constant[0, 0, 0] == 1
    assert np.isnan(cube.spread[0, 0, 0])


def test_a_unit_shorter_than_a_day_has_one_hour():
    hours = Hours(rows(("a", 0, 1.0), ("a", 10 * MINUTE, 2.0)), ["value"], unit=5 * MINUTE)
    assert hours.units.tolist() == [0, 2]
    assert hours.cube("value").level[0, :, 0].tolist() == [1.0, 2.0]


def test_the_scale_is_about_each_devices_own_mean():
    hours = Hours(rows(("a", 0, 0.0), ("a", 1, 2.0), ("b", 0, 100.0), ("b", 1, 102.0)), ["value"])
    assert hours.scale("value") == pytest.approx(1.0)
    assert np.isnan(Hours(rows(("a", 0, np.nan)), ["value"]).scale("value"))


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


def test_rows_are_moved_to_the_time_of_clocks_and_in_utc_not_touched():
    batch = rows(("a", 0, 1.0)).read_next_batch()
    assert on_the_clock(batch, UTC_ZONE) is batch
    moved = on_the_clock(batch, ZoneInfo("Asia/Tokyo"))
    assert moved["time"].cast(pa.int64()).to_pylist() == [9 * HOUR]


def test_a_wrong_clock_moves_no_other_row():
    moments = {
        datetime(1, 1, 2, tzinfo=UTC): None,
        datetime(2025, 12, 31, 22, 59, tzinfo=UTC): 1,
        datetime(2026, 7, 1, tzinfo=UTC): 2,
        datetime(2031, 1, 1, tzinfo=UTC): 1,
        datetime(9999, 12, 30, tzinfo=UTC): None,
    }
    since = datetime(1970, 1, 1, tzinfo=UTC)
    times = [(moment - since) // timedelta(microseconds=1) for moment in moments]
    batch = rows(*(("a", time, 1.0) for time in times)).read_next_batch()
    moved = on_the_clock(batch, ZoneInfo("Europe/Berlin"))["time"].cast(pa.int64()).to_numpy()
    hours = (moved - np.array(times)) / HOUR
    assert hours[1:4].tolist() == [hour for hour in moments.values() if hour]
