"""SQL that finds readings between moments, and counts them by day, by one column of times.

The conditions compare the column itself with what it would hold at a moment, so that the database
can use an index of it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from breezeway.core.days import UTC_ZONE, day_end, day_of, day_start

_DATE, _HOUR = len("2026-03-28"), len("2026-03-28 23")
_ONE_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


class Times(ABC):
    """A column of times.

    Args:
        column: its name in SQL.
    """

    def __init__(self, column: str = "time"):
        self.column = column

    def of_days(self, first: date, last: date, zone: ZoneInfo) -> str:
        """The condition of readings of some days, from a first to a last one, both included."""
        return f"{self.since(day_start(first, zone))} AND {self.before(day_end(last, zone))}"

    @abstractmethod
    def before(self, end: datetime) -> str:
        """The condition of readings before a moment."""

    @abstractmethod
    def since(self, start: datetime) -> str:
        """The condition of readings from a moment on."""

    def dates_of(self, first: date, last: date, zone: ZoneInfo) -> Sequence[date]:
        """The first and the last date, as the column writes them, that some days touch; none if it
        writes no dates."""
        return ()

    @property
    def readable(self) -> str:
        """The condition of what may be a time: other text mostly sorts after it."""
        return f"{self.column} <= {self._written(_LAST)}"

    @abstractmethod
    def _written(self, moment: datetime) -> str:
        """What the column holds at a moment (whole seconds)."""

    @abstractmethod
    def groups(self, first: date, last: date, zone: ZoneInfo) -> "Groups":
        """Groups of the readings of some days, each within one day."""


class Groups(ABC):
    """Groups of readings, each of which is within one day.

    Attributes:
        columns: SQL of what a group has in common.
        condition: of all groups.
    """

    columns: str
    condition: str

    @abstractmethod
    def day_of(self, group: Sequence[object]) -> date | None:
        """The day of a group; None if it is of no day."""


# -- times of the database, or their ISO text


class Calendar(Times):
    """Times, or their ISO text, as the clocks of one zone show them.

    Both are compared as text, by no more letters than a moment needs: no text of a time of that
    hour is before `2026-03-28 23`. A condition on whole dates stands before, for the index. The
    conditions are the same in each kind of database.

    Args:
        column: its name in SQL.
        zone: of the clocks. A time that they show twice or never is unreadable, so it does not
            matter on which side of a moment it is found.
    """

    def __init__(self, column: str = "time", zone: ZoneInfo = UTC_ZONE):
        super().__init__(column)
        self.zone = zone
        self.as_text = f"CAST({column} AS CHAR(40))"
        self.with_blank = f"REPLACE({self.as_text}, 'T', ' ')"

    def before(self, end: datetime) -> str:
        text = self.text(end)
        if text == f"{self.date(end)}":
            return f"{self.column} < '{text}'"
        return f"{self.column} < '{self.date(end) + _ONE_DAY}' AND {self.with_blank} < '{text}'"

    def since(self, start: datetime) -> str:
        text = self.text(start)
        if text == f"{self.date(start)}":
            return f"{self.column} >= '{text}'"
        return f"{self.column} >= '{self.date(start)}' AND {self.with_blank} >= '{text}'"

    def _written(self, moment: datetime) -> str:
        return f"'{self._shown(moment):%Y-%m-%d %H:%M:%S}'"

    def groups(self, first: date, last: date, zone: ZoneInfo) -> Groups:
        return _CalendarGroups(self, first, last, zone)

    def dates_of(self, first: date, last: date, zone: ZoneInfo) -> tuple[date, date]:
        """The first and the last date of these clocks that some days touch."""
        end = day_end(last, zone) - timedelta(microseconds=1)
        return self.date(day_start(first, zone)), self.date(end)

    def date(self, moment: datetime) -> date:
        return self._shown(moment).date()

    def text(self, moment: datetime) -> str:
        """The shortest beginning of the text of a time that no earlier time has."""
        text = self._shown(moment).isoformat(" ", "seconds")
        return text.removesuffix(":00").removesuffix(":00").removesuffix(" 00")

    def _shown(self, moment: datetime) -> datetime:
        try:
            return moment.astimezone(self.zone).replace(tzinfo=None)
        except OverflowError:  # at an end of the calendar
            return moment.astimezone(UTC).replace(tzinfo=None)


class _CalendarGroups(Groups):
    """By date or hour, and by whether they are past each minute at which a day begins."""

    def __init__(self, times: Calendar, first: date, last: date, zone: ZoneInfo):
        self._times, self._zone = times, zone
        self.condition = times.of_days(first, last, zone)
        clocks = self._clock_texts(first, last)
        self._cuts = sorted({clock[_HOUR - _DATE :] for clock in clocks} - {""})
        whole = f"SUBSTR({times.as_text}, 1, {_DATE})"
        if any(clocks):
            whole = f"SUBSTR({times.with_blank}, 1, {_HOUR})"
        past = (f"SUBSTR({times.with_blank}, {_HOUR + 1}) >= '{cut}'" for cut in self._cuts)
        self.columns = ", ".join([whole, *past])

    def day_of(self, group: Sequence[object]) -> date | None:
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
        # Clocks of two zones are up to 26 hours apart.
        near = (there + n * _ONE_DAY for n in (2, 1, 0, -1))
        return next(
            (day for day in near if self._times.text(day_start(day, self._zone)) <= earliest),
            there - 2 * _ONE_DAY,
        )

    def _clock_texts(self, first: date, last: date) -> set[str]:
        """The times of day at which some days begin: texts without their dates."""
        since = min(max(first, _OLDEST), _NEWEST)
        until = max(since, min(last, _NEWEST))
        numbers = range((until - since).days + 2)
        starts = (day_start(since + timedelta(days=n), self._zone) for n in numbers)
        return {self._times.text(start)[_DATE:] for start in starts}


_OLDEST, _NEWEST = date(1900, 1, 1), date(2100, 1, 1)
"""Before these there are no sensors, and after them zones go on as they are."""


# -- numbers


class Epoch(Times):
    """Numbers of seconds, or of parts of one, since 1970.

    Args:
        column: its name in SQL.
        per_second: how many there are of them.
        whole: SQL that divides, without the rest: `{0}` by `{1}`.
    """

    def __init__(self, column: str, per_second: int, whole: str):
        super().__init__(column)
        self.per_second = per_second
        self.whole = whole

    def before(self, end: datetime) -> str:
        return f"{self.column} < {self._written(end)}"

    def since(self, start: datetime) -> str:
        return f"{self.column} >= {self._written(start)}"

    def _written(self, moment: datetime) -> str:
        microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
        number = Decimal(microseconds) * self.per_second / 10**6
        return f"{number.normalize():f}"

    def groups(self, first: date, last: date, zone: ZoneInfo) -> Groups:
        return _EpochGroups(self, first, last, zone)


class _EpochGroups(Groups):
    """By as many seconds as divide all of the days; before 1970 there are no sensors."""

    def __init__(self, times: Epoch, first: date, last: date, zone: ZoneInfo):
        self._zone = zone
        since = min(max(first, _EPOCH.date() + _ONE_DAY), _NEWEST)
        until = max(since, min(last, _NEWEST))
        self.condition = times.of_days(max(first, since), max(last, since), zone)
        self._start = day_start(since, zone)
        days = range(1, (until - since).days + 2)
        starts = (day_start(since + timedelta(days=n), zone) for n in days)
        self._seconds = math.gcd(*(round((s - self._start).total_seconds()) for s in starts))
        begin = round(self._start.timestamp()) * times.per_second
        parts = (f"{times.column} - {begin}", str(self._seconds * times.per_second))
        self.columns = times.whole.format(*parts)

    def day_of(self, group: Sequence[object]) -> date | None:
        (number,) = group
        seconds = int(Decimal(str(number))) * self._seconds
        return day_of(self._start + timedelta(seconds=seconds), self._zone)
