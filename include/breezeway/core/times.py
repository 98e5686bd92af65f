"""Times as text, read alike wherever they come from."""

import re
from datetime import UTC, datetime, timedelta

_END_OF_DAY = re.compile(r"(?<![0-9:.+-])24((?::00){1,2}(?:[.,]0+)?)(?![0-9:])")

_HALF_OF_DAY = re.compile("(?<=[0-9])[ \u00a0\u202f]*([AaPp])[.]?[ \u00a0\u202f]?([Mm])[.]?$")


def from_iso(text: str) -> datetime:
    """A time in UTC from ISO 8601 text; text without an offset is UTC.

    Raises:
        ValueError: it is no such time, or has no equal in UTC between the years 1 and 9999.

    >>> from_iso("2026-01-31T12:00:00+01:00").isoformat()
    '2026-01-31T11:00:00+00:00'
    """
    if "24:" in text:
        text, further = from_end_of_day(text)
        return in_utc(moved(datetime.fromisoformat(text), further))
    return in_utc(datetime.fromisoformat(text))


def from_end_of_day(text: str) -> tuple[str, timedelta]:
    """A time with 00:00 in place of 24:00, and what is to be added to it.

    >>> from_end_of_day("2026-01-31T24:00")
    ('2026-01-31T00:00', datetime.timedelta(days=1))
    """
    begun, times = _END_OF_DAY.subn(r"00\1", text)
    return (begun, timedelta(days=1)) if times == 1 else (text, timedelta())


def from_half_of_day(text: str) -> str:
    """A time with AM or PM as Python knows them: without points, and a plain blank before it.

    >>> from_half_of_day("1/31/2026 1:05\\u202fp. m.")
    '1/31/2026 1:05 pm'
    """
    return _HALF_OF_DAY.sub(r" \1\2", text)


def moved(time: datetime, further: timedelta) -> datetime:
    """A time somewhat later.

    Raises:
        ValueError: it would be after the year 9999.
    """
    try:
        return time + further
    except OverflowError as error:
        raise ValueError(f"{time.isoformat()!r} is out of range") from error


def in_utc(time: datetime) -> datetime:
    """A time in UTC; one without an offset is UTC.

    Raises:
        ValueError: it has no equal in UTC between the years 1 and 9999.
    """
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{time.isoformat()!r} is out of range") from error
