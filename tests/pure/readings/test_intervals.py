"""Fault intervals begin with their start, end before their end, and may overlap."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from breezeway.core.errors import DataError
from breezeway.readings.arrow import LABELS
from breezeway.readings.intervals import Intervals

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def intervals(*pairs: tuple[str | None, int, int]) -> pa.Table:
    """Of (device, start, end), in seconds."""
    rows = [
        {"device": d, "start": EPOCH + timedelta(seconds=s), "end": EPOCH + timedelta(seconds=e)}
        for d, s, e in pairs
    ]
    return pa.Table.from_pylist(rows, schema=LABELS)


def label(table: pa.Table, device: str, seconds: range) -> list[int]:
    return Intervals(table).label(device, np.array(seconds) * 1_000_000).tolist()


def test_the_start_is_within_and_the_end_is_not():
    assert label(intervals(("a", 2, 4)), "a", range(6)) == [0, 0, 1, 1, 0, 0]


def test_intervals_may_overlap_touch_and_come_in_any_order():
    table = intervals(("a", 5, 6), ("a", 1, 4), ("a", 2, 3), ("a", 4, 5))
    assert label(table, "a", range(8)) == [0, 1, 1, 1, 1, 1, 0, 0]


def test_each_device_has_its_own():
    table = intervals(("a", 0, 2), ("b", 1, 3))
    assert label(table, "b", range(4)) == [0, 1, 1, 0]
    assert label(table, "c", range(4)) == [0, 0, 0, 0]


@pytest.mark.parametrize("pair", [("a", 2, 2), ("a", 3, 2), (None, 1, 2)])
def test_what_is_no_interval_is_named_by_its_row(pair):
    with pytest.raises(DataError, match="row 1"):
        Intervals(intervals(("a", 0, 1), pair))
