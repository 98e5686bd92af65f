"""Times that a user's own database holds, as times in UTC."""

import math
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.time_formats import EPOCHS, EXCEL, OUR_DAYS
from breezeway.core.days import UTC_ZONE, clock_changes
from breezeway.readings.arrow import (
    FIRST,
    LAST,
    TIME,
    ReadTimes,
    are_dates,
    as_text,
    iso_times,
    with_unreadable,
)

_NAIVE = pa.timestamp("us")
_UNREADABLE = np.iinfo(np.int64).min
_SECOND = 1_000_000
_YEARS = 1900, 2200
"""Clocks of other years are not known; such a time is unreadable."""


def reader_of(zone: ZoneInfo, per_second: int | None) -> ReadTimes:
    """What reads a column of times.

    Args:
        zone: of times that have no zone.
        per_second: of a column of numbers, how many make a second; else None.
    """
    if per_second:
        return partial(_epoch_times, per_second)
    return iso_times if zone == UTC_ZONE else partial(_local_times, zone)


def _epoch_times(per_second: int, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Numbers since 1970; what is smaller than a microsecond is cut off. A time of our days in
    another unit is unreadable: it would be one of 1970, or none that there is."""
    text = as_text(values)
    try:
        numbers = text.cast(pa.int64()).fill_null(0).to_numpy()
        found = _whole_microseconds(numbers, per_second)
    except pa.ArrowInvalid:
        found = np.array([_part_microseconds(each, per_second) for each in text.to_pylist()])
        numbers = np.array(list(map(_number, text.to_pylist())))
    for name, (since, until) in OUR_DAYS.items():
        if name == EXCEL or round(_SECOND / EPOCHS[name]) != per_second:
            found = np.where((numbers >= since) & (numbers < until), _UNREADABLE, found)
    return with_unreadable(_as_times(found, text), text)


def _whole_microseconds(numbers: np.ndarray, per_second: int) -> np.ndarray:
    if per_second > _SECOND:
        return numbers // (per_second // _SECOND)
    factor = _SECOND // per_second
    fits = (numbers >= FIRST // factor) & (numbers <= LAST // factor)
    return np.where(fits, np.where(fits, numbers, 0) * factor, _UNREADABLE)


def _part_microseconds(text: str | None, per_second: int) -> int:
    """Of a number that is not whole; a float of seconds is exact to less than a microsecond."""
    number = _number(text) * _SECOND / per_second
    return round(number) if FIRST <= number <= LAST else _UNREADABLE


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _local_times(zone: ZoneInfo, values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Times that clocks of a zone show; those that they show twice or never are unreadable."""
    if pa.types.is_timestamp(values.type):
        if values.type.tz is not None:
            return iso_times(values)
        text = pc.strftime(values.cast(pa.timestamp("s"), safe=False), "%Y-%m-%d %H:%M:%S")
        naive = values.cast(_NAIVE)
    else:
        text = as_text(values)
        try:
            naive = text.cast(_NAIVE)
        except pa.ArrowInvalid:
            return _each(zone, text)
        if not are_dates(naive):
            return _each(zone, text)
    shown = naive.cast(pa.int64()).fill_null(0).to_numpy()
    return with_unreadable(_as_times(_of_clocks(shown, zone), text), text)


def _each(zone: ZoneInfo, text: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Where some are no times, or have an offset from UTC."""
    read = [(_UNREADABLE, True) if each is None else _read(each) for each in text.to_pylist()]
    given = np.array([time for time, _ in read])
    in_utc = np.array([is_utc for _, is_utc in read])
    local = _of_clocks(np.where(in_utc, 0, given), zone)
    return with_unreadable(_as_times(np.where(in_utc, given, local), text), text)


def _read(text: str) -> tuple[int, bool]:
    """Microseconds since 1970, and whether they are of UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _UNREADABLE, True
    begin = datetime(1970, 1, 1, tzinfo=time.tzinfo and UTC)
    return (time - begin) // timedelta(microseconds=1), time.tzinfo is not None


def _of_clocks(shown: np.ndarray, zone: ZoneInfo) -> np.ndarray:
    """Moments (microseconds) at which clocks showed these times exactly once."""
    if not len(shown):
        return shown
    years = [
        min(max(datetime.fromtimestamp(int(edge) // _SECOND, UTC).year, _YEARS[0]), _YEARS[1])
        for edge in (shown.min(), shown.max())
    ]
    changes = [c for year in range(years[0], years[1] + 1) for c in clock_changes(year, zone)]
    since = np.array([round(moment.timestamp()) * _SECOND for moment, _ in changes])
    ahead = np.array([round(each.total_seconds()) * _SECOND for _, each in changes])
    # The period before the first and after the last are as long as they need to be.
    begin = np.append(since[0] + ahead[0] - 86_400 * _SECOND, since[1:] + ahead[1:])
    end = np.append(since[1:] + ahead[:-1], since[-1] + ahead[-1] + 367 * 86_400 * _SECOND)
    place = np.searchsorted(begin, shown, "right") - 1
    here = (place >= 0) & (shown < end[place])
    # Clocks that were set back show again what they showed in the period before.
    earlier = np.maximum(place - 1, 0)
    again = (place > 0) & (shown < end[earlier])
    moment = shown - np.where(here, ahead[place], ahead[earlier])
    return np.where(here != again, moment, _UNREADABLE)


def _as_times(microseconds: np.ndarray, text: pa.Array) -> pa.Array:
    wrong = (microseconds < FIRST) | (microseconds > LAST)
    null = wrong | text.is_null().to_numpy(zero_copy_only=False)
    return pa.array(np.where(null, 0, microseconds), _NAIVE, mask=null).cast(TIME)
