"""The days of a time zone: when each begins, and which one a moment belongs to.

Every day, night and hour of the day is one of the sensor contract's zone; times of readings stay in
UTC. Nothing else turns days into moments, or moments into days.

A day begins at the first moment of its local midnight, or, where clocks are set forward over
midnight, at the first moment after. So days follow each other without a gap and without an overlap,
whether they have 23, 24 or 25 hours.
"""

from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

EXAMPLE = "Europe/Berlin"
UTC_ZONE = ZoneInfo("UTC")


def find_zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA database.

    Raises:
        ValueError: there is none; the message gives the nearest name.
    """
    if name not in _names().values():
        lower = name.lower()
        near = get_close_matches(lower, list(_names()), n=1)
        meant = _names()[near[0]] if near else EXAMPLE
        raise ValueError(f"{name[:60]!r}: expected a zone of the IANA database, such as {meant!r}")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """The names in small letters → the names. Those of the package: a machine may have none, or
    further ones of its own."""
    zones = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return {zone.lower(): zone for zone in zones}


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a day, in UTC.

    >>> day_start(date(2026, 3, 29), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-03-28T23:00:00+00:00'
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    start = midnight.astimezone(UTC)
    if start.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return start
    # Clocks skip this midnight, at a moment between its two readings.
    before = midnight.replace(fold=1).astimezone(UTC)

    def has_begun(second: int) -> bool:
        return (before + timedelta(seconds=second)).astimezone(zone).date() >= day

    seconds = range(round((start - before).total_seconds()) + 1)
    return before + timedelta(seconds=bisect_left(seconds, True, key=has_begun))


def day_end(day: date, zone: ZoneInfo) -> datetime:
    """The first moment that is not in a day any more, in UTC."""
    return day_start(day + timedelta(days=1), zone)


def day_of(moment: datetime, zone: ZoneInfo) -> date:
    """The day that a moment is in.

    >>> day_of(datetime(2026, 3, 28, 23, tzinfo=UTC), ZoneInfo("Europe/Berlin")).isoformat()
    '2026-03-29'
    """
    try:
        day = moment.astimezone(zone).date()
        following = day + timedelta(days=1)
        # Where clocks are set back over midnight, the next day begins when they first show it.
        return following if day_start(following, zone) <= moment else day
    except OverflowError:  # at an end of the calendar; a wrong clock shows the year 1
        return moment.date()


def clock_time(moment: datetime, zone: ZoneInfo, precision: str) -> str:
    """A moment as clocks show it, with what they are ahead of UTC: one hour a year comes twice.

    Args:
        precision: the last unit that is shown, such as `seconds`.

    >>> clock_time(datetime(2026, 7, 1, tzinfo=UTC), ZoneInfo("Europe/Berlin"), "minutes")
    '2026-07-01 02:00+02:00'
    """
    try:
        shown = moment.astimezone(zone)
    except OverflowError:  # at an end of the calendar
        shown = moment
    return shown.isoformat(" ", precision)


def today(zone: ZoneInfo) -> date:
    return day_of(datetime.now(UTC), zone)


@lru_cache(maxsize=4096)
def clock_changes(year: int, zone: ZoneInfo) -> tuple[tuple[datetime, timedelta], ...]:
    """What clocks are ahead of UTC in a year (UTC): from its beginning, and from each change on."""
    begin = datetime(year, 1, 1, tzinfo=UTC)
    changes = [(begin, _ahead(begin, zone))]
    for number in range((date(year + 1, 1, 1) - begin.date()).days):
        since = begin + timedelta(days=number)
        then = _ahead(since + timedelta(days=1), zone)
        if then != changes[-1][1]:
            changes.append((_first_moment(since, then, zone), then))
    return tuple(changes)


def _first_moment(since: datetime, ahead: timedelta, zone: ZoneInfo) -> datetime:
    """When, within a day, clocks are set to what they are ahead of UTC at its end."""

    def is_set(second: int) -> bool:
        return _ahead(since + timedelta(seconds=second), zone) == ahead

    return since + timedelta(seconds=bisect_left(range(86_401), True, key=is_set))


def _ahead(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
