"""Times as text, read alike wherever they come from."""

from datetime import UTC, datetime


def from_iso(text: str) -> datetime:
    """A time in UTC from ISO 8601 text; text without an offset is UTC.

    Raises:
        ValueError: it is no such time, or has no equal in UTC between the years 1 and 9999.

    >>> from_iso("2026-01-31T12:00:00+01:00").isoformat()
    '2026-01-31T11:00:00+00:00'
    """
    return in_utc(datetime.fromisoformat(text))


def in_utc(time: datetime) -> datetime:
    """A time in UTC; one without an offset is UTC.

    Raises:
        ValueError: it has no equal in UTC between the years 1 and 9999.
    """
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{time.isoformat()!r} is out of range") from error
