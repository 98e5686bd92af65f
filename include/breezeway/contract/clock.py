"""The hour of the day and the day of the week in the plant's zone: the same bits for a column of
times and for one."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

HOUR, WEEKDAY = "hour()", "weekday()"
"""As an expression names them; no field can have such a name."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_QUARTER_SECONDS = 900
_QUARTER, _HOUR, _DAY = (seconds * 1_000_000 for seconds in (_QUARTER_SECONDS, 3600, 86_400))
_QUARTERS = tuple(
    (datetime(year, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(seconds=_QUARTER_SECONDS)
    for year in (2, 9998)
)
"""Outside of these a zone may lead to a year that there is not."""
_THURSDAY = 3
"""The first of January 1970."""


def clock_columns(zone: ZoneInfo, times: np.ndarray) -> dict[str, np.ndarray]:
    """The values of `HOUR` (from 0 up to 24, with its fraction) and `WEEKDAY` (Monday is 0).

    Args:
        times: int64 of shape (rows,), microseconds, UTC.
    """
    quarters, places = np.unique(times // _QUARTER, return_inverse=True)
    offsets = [_offset(zone, quarter) for quarter in quarters.tolist()]
    local = times + np.array(offsets, np.int64)[places]
    weekday = (local // _DAY + _THURSDAY) % 7
    return {HOUR: local % _DAY / _HOUR, WEEKDAY: weekday.astype(np.float64)}


def clock(zone: ZoneInfo, time: datetime) -> dict[str, float]:
    """The same, to the bit, for one time with an offset from UTC.

    >>> clock(ZoneInfo("Europe/Berlin"), datetime(2026, 7, 5, 22, 30, tzinfo=UTC))
    {'hour()': 0.5, 'weekday()': 0.0}
    """
    passed = (time - _EPOCH) // _MICROSECOND
    local = passed + _offset(zone, passed // _QUARTER)
    return {HOUR: local % _DAY / _HOUR, WEEKDAY: float((local // _DAY + _THURSDAY) % 7)}


@lru_cache(maxsize=1 << 15)
def _offset(zone: ZoneInfo, quarter: int) -> int:
    """Of a zone in a quarter of an hour since 1970, in microseconds. Clocks have been changed at
    the beginning of one since 1972, and it is looked up once for many readings."""
    known = min(max(quarter, _QUARTERS[0]), _QUARTERS[1])
    moment = datetime.fromtimestamp(known * _QUARTER_SECONDS, zone)
    return (moment.utcoffset() or timedelta()) // _MICROSECOND
