"""The hour and the weekday are those of the plant's clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from breezeway.contract.clock import HOUR, WEEKDAY, clock, clock_columns

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]
CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe, by half an hour
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2026, 3, 8, 5, 30, tzinfo=UTC),  # St John's
]
moments = st.one_of(
    st.datetimes(datetime(1972, 2, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.builds(
        lambda change, apart: change + apart,
        st.sampled_from(CHANGES),
        st.timedeltas(timedelta(hours=-3), timedelta(hours=3)),
    ),
    *[st.just(change - timedelta(microseconds=1)) for change in CHANGES],
    *[st.just(change) for change in CHANGES],
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ZONES), st.lists(moments, min_size=1, max_size=6))
def test_it_is_the_clock_on_the_wall_to_the_bit(name, times):
    zone = ZoneInfo(name)
    passed = np.array([(time - EPOCH) // timedelta(microseconds=1) for time in times])
    columns = clock_columns(zone, passed)
    for row, time in enumerate(times):
        wall = time.astimezone(zone)
        midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
        since = (wall.replace(tzinfo=None) - midnight.replace(tzinfo=None)) / timedelta(hours=1)
        expected = {HOUR: since, WEEKDAY: float(wall.weekday())}
        assert {key: column[row] for key, column in columns.items()} == expected
        assert clock(zone, time) == expected


@pytest.mark.parametrize("name", ["Etc/GMT-14", "Etc/GMT+12", "Europe/Berlin"])
@pytest.mark.parametrize(
    "time", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
def test_the_first_and_the_last_moment_that_there_is_have_their_hour(name, time):
    passed = np.array([(time - EPOCH) // timedelta(microseconds=1)])
    columns = clock_columns(ZoneInfo(name), passed)
    assert {key: column[0] for key, column in columns.items()} == clock(ZoneInfo(name), time)
    assert 0 <= columns[HOUR][0] < 24 and columns[WEEKDAY][0] in range(7)
