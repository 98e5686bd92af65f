"""How times are written, in files and in payloads, and how one of them is read."""

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from breezeway.core.days import find_zone
from breezeway.core.times import from_end_of_day, from_half_of_day, in_utc, moved

EPOCHS = {"epoch s": 1_000_000, "epoch ms": 1000, "epoch us": 1, "epoch ns": 0.001}
"""Time format → microseconds in one of its units."""
EXCEL = "excel"
"""Days of Excel's 1900 date system, as a clock shows them."""
EXCEL_1970 = 25_569
"""1970 in it."""
EXCEL_FIRST = 61
"""March 1900; before it Excel has a day that there was not."""
NUMBERS = (*EPOCHS, EXCEL)
"""Time formats of numbers."""
ISO = "iso"
DIRECTIVES = frozenset("aAbBdfgHIjmMnpSyYz%-")
"""Of a time format. A zone's name (%Z) is not among them: `CST` is five zones."""
DATES = ({"Y", "y"}, {"m", "b", "B", "j"}, {"d", "j"})
"""A time format needs one of each."""
FARTHEST = Decimal(10) ** 20
"""No unit has a time of so many; it bounds the work for a number such as 1e999999."""
_DAY_MS = 86_400_000
_OUR_DAYS = 7305, 47_482
"""Days since 1970: the years 1990 to 2099."""
OUR_DAYS = {
    **{
        name: tuple(day * _DAY_MS * 1000 / unit for day in _OUR_DAYS)
        for name, unit in EPOCHS.items()
    },
    EXCEL: tuple(float(day + EXCEL_1970) for day in _OUR_DAYS),
}
"""Time format → the first number of a time of our days, and the first behind them. No number is one
in two formats, so one that is a time of our days in another format than the contract's is taken for
a mistake."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_LONGEST = 100


def _time_format(text: str) -> str:
    if text == ISO or text in NUMBERS:
        return text
    if text == "epoch µs":
        return "epoch us"
    found = set(re.findall("%(-?.)", text))
    expected = (
        f"expected {ISO!r}, {', '.join(map(repr, NUMBERS))}, or a pattern such as "
        '"%d.%m.%Y %H:%M:%S"'
    )
    unknown = sorted(each for each in found if not set(each) <= DIRECTIVES)
    if unknown:
        hint = "; write a zone's name as it stands in the file, and set time_zone"
        raise ValueError(
            f"{text[:60]!r}: %{unknown[0]} is not known{hint if 'Z' in unknown else ''}; {expected}"
        )
    letters = {each[-1] for each in found}
    if not all(letters & any_of for any_of in DATES):
        raise ValueError(f"{text[:60]!r} has no full date; {expected}")
    return text


def _zone_name(text: str) -> str:
    find_zone(text)
    return text


TimeFormat = Annotated[str, AfterValidator(_time_format)]
ZoneName = Annotated[str, AfterValidator(_zone_name)]


def read_time(value: Any, time_format: str, zone: ZoneInfo) -> datetime:
    """A time of a payload, in UTC.

    Args:
        value: of JSON.
        time_format: as by `TimeFormat`.
        zone: of times without an offset from UTC.

    Raises:
        ValueError: it is none, or clocks in the zone show it twice or never.

    >>> read_time(1700000000123, "epoch ms", ZoneInfo("UTC")).isoformat()
    '2023-11-14T22:13:20.123000+00:00'
    """
    if type(value) not in (str, int, float) or len(text := str(value).strip()) > _LONGEST:
        raise ValueError(f"{str(value)[:60]!r} is no time")
    if time_format in NUMBERS:
        if unit_of(text) not in ("", time_format):
            raise ValueError(f"{text!r} is a time of our days in another unit")
        if time_format == EXCEL:
            return _in_utc(_of_excel(text), zone)
        return _of_epoch(text, EPOCHS[time_format])
    text, further = from_end_of_day(text)
    if time_format != ISO:
        found = datetime.strptime(from_half_of_day(text), time_format.replace("%-", "%"))
    elif text[4:5] != "-" and _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is a number")
    else:
        found = datetime.fromisoformat(text)
    return _in_utc(moved(found, further), zone)


def unit_of(text: str) -> str:
    """The format in which a number is a time of our days; empty if there is none.

    >>> unit_of("1700000000123"), unit_of("45000.5"), unit_of("12")
    ('epoch ms', 'excel', '')
    """
    if not _NUMBER.fullmatch(text):
        return ""
    number = float(text)
    return next((n for n, (since, until) in OUR_DAYS.items() if since <= number < until), "")


def as_unit(text: str, unit: str) -> datetime:
    """The time without a zone that a number is in a format of numbers.

    Raises:
        ValueError: there is no such time.
    """
    found = _of_excel(text) if unit == EXCEL else _of_epoch(text, EPOCHS[unit])
    return found.replace(tzinfo=None)


def _of_excel(text: str) -> datetime:
    """To the millisecond: what a cell shows of a time is not more exact."""
    if not _NUMBER.fullmatch(text) or not EXCEL_FIRST <= (days := float(text)) < 1e7:
        raise ValueError(f"{text!r} is no day of Excel")
    try:
        since = timedelta(milliseconds=math.floor(days * _DAY_MS + 0.5))
        return datetime(1970, 1, 1) + (since - timedelta(days=EXCEL_1970))
    except OverflowError:
        raise ValueError(f"{text!r} is out of range") from None


def _of_epoch(text: str, unit: float) -> datetime:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    if not number.is_finite() or abs(number) >= FARTHEST:
        raise ValueError(f"{text!r} is out of range")
    try:
        microseconds = math.floor(number * Decimal(str(unit)))
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    except OverflowError:
        raise ValueError(f"{text!r} is out of range") from None


def _in_utc(time: datetime, zone: ZoneInfo) -> datetime:
    if time.tzinfo is None and zone.key != "UTC":
        first, second = time.replace(tzinfo=zone), time.replace(tzinfo=zone, fold=1)
        if first.utcoffset() != second.utcoffset():
            raise ValueError(f"{time} comes twice or never in {zone}")
        time = first
    return in_utc(time)
