"""SQL that finds readings between moments, and counts them by day.

A store has times, or their ISO text in UTC. Both are compared as text, by no more letters than a
moment needs: no text of a time of that hour is before `2026-03-28 23`. A condition on whole dates
stands before, for the index. The conditions are the same in each kind of database.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from breezeway.core.days import day_end, day_start

_TIME = "CAST(time AS CHAR(40))"
_TEXT = f"REPLACE({_TIME}, 'T', ' ')"
_DATE, _HOUR = len("2026-03-28"), len("2026-03-28 23")
_ONE_DAY = timedelta(days=1)


def of_days(first: date, last: date, zone: ZoneInfo) -> str:
    """The condition of readings of some days, from a first to a last one, both included."""
    return f"{_since(day_start(first, zone))} AND {before(day_end(last, zone))}"


def before(end: datetime) -> str:
    """The condition of readings before a moment."""
    text = _text(end)
    if text == f"{_date(end)}":
        return f"time < '{text}'"
    return f"time < '{_date(end) + _ONE_DAY}' AND {_TEXT} < '{text}'"


def _since(start: datetime) -> str:
    text = _text(start)
    if text == f"{_date(start)}":
        return f"time >= '{text}'"
    return f"time >= '{_date(start)}' AND {_TEXT} >= '{text}'"


def dates_of(first: date, last: date, zone: ZoneInfo) -> tuple[date, date]:
    """The first and the last date (UTC) that some days touch."""
    return _date(day_start(first, zone)), _date(day_end(last, zone) - timedelta(microseconds=1))


def _date(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _text(moment: datetime) -> str:
    """The shortest beginning of the text of a time, in UTC, that no earlier time has."""
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds")
    return text.removesuffix(":00").removesuffix(":00").removesuffix(" 00")


class DayGroups:
    """Groups of readings, each of which is within one day.

    Args:
        first, last: the days.
        zone: theirs.
    """

    def __init__(self, first: date, last: date, zone: ZoneInfo):
        self._zone = zone
        self.condition = of_days(first, last, zone)
        dates = dates_of(first, last, zone)
        self.dates = dates[0], dates[1] + _ONE_DAY
        """The dates (UTC) that the days touch, without the last."""
        clocks = _clock_texts(first, last, zone)
        self._cuts = sorted({clock[_HOUR - _DATE :] for clock in clocks} - {""})
        whole = f"SUBSTR({_TEXT}, 1, {_HOUR})" if any(clocks) else f"SUBSTR({_TIME}, 1, {_DATE})"
        past = (f"SUBSTR({_TEXT}, {_HOUR + 1}) >= '{cut}'" for cut in self._cuts)
        self.columns = ", ".join([whole, *past])
        """What a group has in common: the date or the hour, and whether it is past each minute at
        which a day begins."""

    def day_of(self, group: Sequence[object]) -> date | None:
        """The day of a group; None if its text is no time and only sorts between two days."""
        text, *past = group
        passed = [cut for cut, is_past in zip(self._cuts, past, strict=True) if is_past]
        written = str(text)[:_DATE]
        try:
            there = date.fromisoformat(written)
        except ValueError:
            return None
        if f"{there}" != written:
            return None
        earliest = f"{text}{passed[-1] if passed else ''}"
        near = (there + _ONE_DAY, there)
        return next(
            (day for day in near if _text(day_start(day, self._zone)) <= earliest),
            there - _ONE_DAY,
        )


def _clock_texts(first: date, last: date, zone: ZoneInfo) -> set[str]:
    """The times of day (UTC) at which some days begin: texts without their dates."""
    since = min(max(first, _OLDEST), _NEWEST)
    until = max(since, min(last, _NEWEST))
    numbers = range((until - since).days + 2)
    return {_text(day_start(since + timedelta(days=n), zone))[_DATE:] for n in numbers}


_OLDEST, _NEWEST = date(1900, 1, 1), date(2100, 1, 1)
"""Before these there are no sensors, and after them zones go on as they are."""
