"""The columns of a result: what is wanted, and what they may hold."""

from typing import Any, Literal, NamedTuple

Kind = Literal["device", "time", "payload", "label", "id"]
"""The content of a column of a result; it decides which types the column may have."""

EXPECTED: dict[Kind, str] = {
    "device": "text or a whole number",
    "time": "a time (UTC) or its ISO text, such as '2026-01-31 12:00:00'",
    "payload": "text",
    "label": "a whole number, 0 or 1",
    "id": "a whole number",
}


class Column(NamedTuple):
    """A wanted column of a result; one that is not `required` may be missing."""

    name: str
    kind: Kind
    required: bool = True


TIME = Column("time", "time")

Block = list[Any]
"""Some thousand rows of a result: for each wanted column an Arrow array of binary (the text of the
store) or of integers, times also of timestamps that Python has (UTC, without a zone); None if the
column is missing."""
