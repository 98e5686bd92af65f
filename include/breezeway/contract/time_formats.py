"""How times are written, in files and in payloads, and how one of them is read."""

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator

from breezeway.core.days import find_zone
from breezeway.core.times import from_end_of_day, in_utc, moved

EPOCHS = {"epoch s": 1_000_000, "epoch ms": 1000, "epoch us": 1, "epoch ns": 0.001}
"""Time format → microseconds in one of its units."""
ISO = "iso"
DIRECTIVES = frozenset("aAbBdfgHIjmMnpSyYz%-")
"""Of a time format. A zone's name (%Z) is not among them: `CST` is five zones."""
DATES = ({"Y", "y"}, {"m", "b", "B", "j"}, {"d", "j"})
"""A time format needs one of each."""
FARTHEST = Decimal(10) ** 20
"""No unit has a time of so many; it bounds the work for a number such as 1e999999."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_LONGEST = 100


def _time_format(text: str) -> str:
    if text == ISO or text in EPOCHS:
        return text
    if text == "epoch µs":
        return "epoch us"
    found = set(re.findall("%(-?.)", text))
    expected = (
        f"expected {ISO!r}, {', '.join(map(repr, EPOCHS))}, or a pattern such as "
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
    if time_format in EPOCHS:
        return _of_epoch(text, EPOCHS[time_format])
    text, further = from_end_of_day(text)
    if time_format != ISO:
        found = datetime.strptime(text, time_format.replace("%-", "%"))
    elif text[4:5] != "-" and _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is a number")
    else:
        found = datetime.fromisoformat(text)
    return _in_utc(moved(found, further), zone)


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
