"""What differs between the databases that may hold readings: one small interface.

`sqlite` and `mysql` each hold a class of it. A third database is one more such module, and a line
in `database.ENGINES` and in `query.DIALECTS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, NoReturn

import sqlalchemy as sa

from breezeway.core.errors import BreezewayError, DataError

Kind = Literal["device", "time", "payload", "label"]
"""What a column of a result holds; it decides which types the column may have."""

EXPECTED: dict[Kind, str] = {
    "device": "text or a whole number",
    "time": "a time (UTC) or its ISO text, such as '2026-01-31 12:00:00'",
    "payload": "text",
    "label": "a whole number, 0 or 1",
}


class Column(NamedTuple):
    """A column that is wanted of a result; one that is not `required` may be missing."""

    name: str
    kind: Kind
    required: bool = True


Block = list[Any]
"""Some thousand rows of a result: for each wanted column an Arrow array of binary (the text that
the store has) or of integers; None where the column is missing."""


class Engine(ABC):
    """One kind of database.

    Args:
        url: SQLAlchemy address.
    """

    driver: ClassVar[str]
    """The driver that SQLAlchemy has to use, by its name there."""
    example: ClassVar[str]
    """What an address looks like."""
    error: ClassVar[type[Exception]]
    """The base class of the driver's errors."""
    mark: ClassVar[str]
    """Stands for a value in SQL that the driver gets as it is."""
    exact: ClassVar[str]
    """SQL that compares text byte by byte; `{}` is the column."""

    def __init__(self, url: sa.URL):
        self.url = url

    @property
    def connect_arguments(self) -> Mapping[str, Any]:
        """What the driver is to be told when SQLAlchemy connects."""
        return {}

    def prepare(self) -> None:  # noqa: B027, most have nothing to prepare
        """Make ready for tables to be made."""

    @abstractmethod
    def blocks(self, query: str, columns: Sequence[Column]) -> Iterator[Block]:
        """Read what a SELECT gives, in memory that stays flat; every write is refused.

        Raises:
            DataError: a column is missing, is there twice, or has another type than its kind.
        """

    @abstractmethod
    def judge(self, error: Any) -> tuple[type[BreezewayError], str]:
        """Which of our errors a driver's error is, and its text."""


def find_columns(names: list[str], columns: Sequence[Column]) -> list[int | None]:
    """Where each wanted column stands in a result, upper and lower case alike; None where missing.

    Raises:
        DataError: a required column is missing, or one is there twice.
    """
    lower = [name.lower() for name in names]
    missing = [c.name for c in columns if c.required and c.name.lower() not in lower]
    if missing:
        raise DataError(
            f"--query gives no column {', '.join(map(repr, missing))}; it gives "
            f"{', '.join(map(repr, names))}."
        )
    for column in columns:
        if lower.count(column.name.lower()) > 1:
            raise DataError(f"--query gives the column {column.name!r} more than once.")
    return [lower.index(c.name.lower()) if c.name.lower() in lower else None for c in columns]


def refuse_type(column: Column, found: str) -> NoReturn:
    raise DataError(
        f"--query: the column {column.name!r} has the type {found}; "
        f"expected {EXPECTED[column.kind]}."
    )
