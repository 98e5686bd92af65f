"""The columns of a result: what is wanted, and what they may hold."""

from typing import Any, Literal, NamedTuple

Kind = Literal["device", "time", "local", "epoch", "payload", "value", "label", "id"]
"""The content of a column of a result; it decides which types the column may have. In a database of
the user's own a time is a number (`epoch`) or `local`: without a zone it need not be of UTC. And a
payload may be made of each `value`."""

EXPECTED: dict[Kind, str] = {
    "device": "text or a whole number",
    "time": "a time (UTC) or its ISO text, such as '2026-01-31 12:00:00'",
    "local": "a time or its ISO text, such as '2026-01-31 12:00:00'; if it is a number since 1970, "
    "set source.time_format",
    "epoch": "a number, as source.time_format says",
    "payload": "text",
    "value": "text, a number or a truth value",
    "label": "a whole number, 0 or 1",
    "id": "a whole number",
}


class Column(NamedTuple):
    """A wanted column of a result; one that is not `required` may be missing."""

    name: str
    kind: Kind
    required: bool = True


TIME = Column("time", "time")

TimeType = Literal["text", "naive", "utc", "number"]
"""Of a column of times: text, times without a zone or with one, or numbers since 1970."""

Block = list[Any]
"""Some thousand rows of a result: for each wanted column an Arrow array of binary (the text of the
store) or of integers, times also of timestamps that Python has (UTC, without a zone); None if the
column is missing. A `local` timestamp has the zone UTC, or none if the store gives none."""
