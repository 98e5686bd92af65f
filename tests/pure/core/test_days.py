"""Days of a zone follow each other without a gap or an overlap, whatever its clocks do."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from breezeway.core.days import clock_changes, clock_time, day_end, day_of, day_start, find_zone

ZONES = st.sampled_from(
    [
        *("UTC", "Europe/Berlin", "Europe/London", "America/Chicago", "Australia/Lord_Howe"),
        *("America/Santiago", "Asia/Beirut", "Africa/Cairo", "America/Havana", "Asia/Kathmandu"),
        *("America/St_Johns", "America/Toronto", "Pacific/Apia", "Pacific/Kwajalein"),
        *("Africa/Monrovia", "Europe/Amsterdam", "America/Nuuk", "Pacific/Kiritimati"),
    ]
).map(ZoneInfo)
DAYS = st.dates(date(1900, 1, 1), date(2100, 1, 1))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@settings(deadline=None)
@given(ZONES, MOMENTS)
@example(ZoneInfo("America/St_Johns"), datetime(2006, 10, 29, 3, 0, tzinfo=UTC))
def test_a_moment_is_in_its_day(zone: ZoneInfo, moment: datetime):
    day = day_of(moment, zone)
    assert day_start(day, zone) <= moment < day_end(day, zone)


@settings(deadline=None)
@given(ZONES, DAYS)
@example(ZoneInfo("America/Toronto"), date(1919, 3, 31))
@example(ZoneInfo("Pacific/Apia"), date(2011, 12, 30))
def test_a_day_has_its_first_moment_and_not_the_one_before(zone: ZoneInfo, day: date):
    start = day_start(day, zone)
    assert day_of(start - timedelta(microseconds=1), zone) < day
    if start < day_end(day, zone):  # else the zone has skipped the whole day
        assert day_of(start, zone) == day


@settings(deadline=None)
@given(ZONES, MOMENTS)
def test_clocks_are_ahead_of_utc_by_what_the_last_change_says(zone: ZoneInfo, moment: datetime):
    ahead = [ahead for since, ahead in clock_changes(moment.year, zone) if since <= moment][-1]
    assert ahead == moment.astimezone(zone).utcoffset()


@pytest.mark.parametrize(
    ("name", "day", "start", "hours"),
    [
        ("UTC", date(2026, 3, 29), "2026-03-29T00:00", 24),
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00", 23),
        ("Europe/Berlin", date(2026, 10, 25), "2026-10-24T22:00", 25),
        ("America/Santiago", date(2026, 9, 6), "2026-09-06T04:00", 23),  # begins at 01:00
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00", 23),  # begins at 01:00
        ("Africa/Cairo", date(2026, 10, 29), "2026-10-28T21:00", 25),  # ends at its second 24:00
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00", 25),  # has midnight twice
        ("Australia/Lord_Howe", date(2026, 4, 5), "2026-04-04T13:00", 24.5),
    ],
)
def test_a_day_begins_at_its_first_midnight(name: str, day: date, start: str, hours: float):
    zone = ZoneInfo(name)
    assert day_start(day, zone).isoformat() == f"{start}:00+00:00"
    assert day_end(day, zone) - day_start(day, zone) == timedelta(hours=hours)


def test_a_moment_at_an_end_of_the_calendar_is_shown():
    berlin = ZoneInfo("Europe/Berlin")
    last = datetime.max.replace(tzinfo=UTC)
    assert clock_time(last, berlin, "minutes") == "9999-12-31 23:59+00:00"
    assert clock_time(last.replace(year=2026), berlin, "seconds") == "2027-01-01 00:59:59+01:00"


def test_a_moment_at_an_end_of_the_calendar_has_a_day():
    assert day_of(datetime.min.replace(tzinfo=UTC), ZoneInfo("America/Chicago")) == date.min
    assert day_of(datetime.max.replace(tzinfo=UTC), ZoneInfo("Europe/Berlin")) == date.max


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("../../etc/passwd", "Europe/Berlin"),
        ("localtime", None),
        ("", "Europe/Berlin"),
        ("\0", "Europe/Berlin"),
        ("Europe", None),
    ],
)
def test_a_zone_that_is_none_is_told_with_the_nearest_name(name: str, meant: str | None):
    with pytest.raises(ValueError, match="expected a zone of the IANA database, such as") as told:
        find_zone(name)
    assert meant is None or meant in str(told.value)
