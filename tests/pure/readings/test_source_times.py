"""Times of a user's own database: numbers since 1970, and what clocks of a zone show."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from breezeway.readings.source_times import reader_of

ZONES = ("Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Asia/Kolkata", "Pacific/Apia")


def read(values, zone="UTC", per_second=None):
    times, unreadable = reader_of(ZoneInfo(zone), per_second)(values)
    return times.to_pylist(), unreadable and unreadable.to_pylist()


@pytest.mark.parametrize("zone", ZONES)
def test_what_clocks_show_is_the_moment_unless_they_show_it_twice(zone):
    moments = [datetime(2025, 12, 31, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(17600)]
    shown = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    twice = [each.utcoffset() != each.replace(fold=1 - each.fold).utcoffset() for each in shown]
    expected = [None if t else moment for t, moment in zip(twice, moments, strict=True)]
    naive = [each.replace(tzinfo=None) for each in shown]
    found, unreadable = read(pa.array(naive, pa.timestamp("us")), zone)
    assert found == expected
    assert sum(each is not None for each in unreadable or []) == sum(twice)
    texts = [each.isoformat().encode() for each in naive]
    assert read(pa.array(texts, pa.binary()), zone)[0] == expected


def test_text_may_have_an_offset_and_what_is_no_time_is_shown():
    values = [b"2026-03-29 02:30:00", b"2026-07-01T12:00:00Z", b"soon", None, b"2026-07-01 12:00"]
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert read(pa.array(values, pa.binary()), "Europe/Berlin") == (
        [None, noon, None, None, noon - timedelta(hours=2)],
        ["2026-03-29 02:30:00", None, "soon", None, None],
    )


@pytest.mark.parametrize(
    ("per_second", "values"),
    [
        (1, [b"1767225600", b"1767225600.25", b"x", None, b"1e30"]),
        (1000, [b"1767225600000", b"1767225600250.0", b"nan", None, b"99999999999999999999"]),
    ],
)
def test_numbers_that_are_no_times_are_shown(per_second, values):
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    times, unreadable = read(pa.array(values, pa.binary()), per_second=per_second)
    assert times == [begin, begin + timedelta(milliseconds=250), None, None, None]
    assert unreadable == [None, None, values[2].decode(), None, values[4].decode()]


@pytest.mark.parametrize("per_second", [1, 1000, 10**6, 10**9])
def test_a_time_of_our_days_in_another_unit_is_no_time(per_second):
    seconds = 1_767_225_600
    for factor in (1, 1000, 10**6, 10**9):
        for values in ([seconds * factor, -5], [b"%d.5" % (seconds * factor), b"-5"]):
            times, unreadable = read(pa.array(values), per_second=per_second)
            assert times[1] is not None
            assert (times[0] is None) == (factor != per_second) == bool(unreadable)
    assert read(pa.array([46023]), per_second=per_second) == ([None], ["46023"])  # a day of Excel


def test_whole_numbers_are_exact():
    begin = datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert read(pa.array([1767225600123456789, -1]), per_second=10**9)[0] == [
        begin,
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    assert read(pa.array([1767225600123456, 2**62]), per_second=10**6) == (
        [begin, None],
        [None, str(2**62)],
    )
