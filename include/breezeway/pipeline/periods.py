"""The days that a backtest of a date judges its model on, which have to be over."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from breezeway.core.days import today
from breezeway.core.errors import UsageError

MAX_DAYS = 366


def refuse_unfinished(first: date, days: int, zone: ZoneInfo) -> None:
    """Make sure that some days are over.

    Args:
        first: the first of them, the date of the backtest.
        days: how many.
        zone: theirs.

    Raises:
        UsageError: they are not; the message says which date can be, and when this one can. Or
            they are too many.
    """
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(f"A backtest judges on 1 to {MAX_DAYS} days, not on {days}.")
    length, now = timedelta(days=days), today(zone)
    if first > now - length:
        raise UsageError(
            f"The {days} days from {first} on are not over yet. The last date whose days are over "
            f"is {now - length}; {first} can be backtested from {first + length} ({zone}) on."
        )
