"""The interface for all that differs between the databases of readings.

`sqlite`, `mysql` and `postgres` implement it. A further database needs one more such module, and a
line in `database.engine_of` and in `query.DIALECTS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, ClassVar, NoReturn

import sqlalchemy as sa

from breezeway.core.errors import BreezewayError, DataError
from breezeway.readings.columns import EXPECTED, Block, Column, TimeType
from breezeway.readings.source import SourceTable

Dates = tuple[date, date]
BUSY_SECONDS = 30
"""How long a writer waits for another."""


class Engine(ABC):
    """One kind of database.

    Args:
        url: SQLAlchemy address.
        query_seconds: how long `blocks` may take; the database then ends the query.
    """

    driver: ClassVar[str]
    """The name of the driver in SQLAlchemy."""
    example: ClassVar[str]
    """An example of an address."""
    errors: ClassVar[tuple[type[Exception], ...]]
    """The base classes of the errors of its drivers."""
    options: ClassVar[frozenset[str]]
    """Names that an address may have after its `?`."""
    mark: ClassVar[str]
    """The placeholder for a value in the driver's SQL."""
    by_index: ClassVar[str]
    """SQL after a table's name that makes a query use an index; `{}` is its name."""
    exact: ClassVar[str]
    """SQL that compares text byte by byte; `{}` is the column."""
    text: ClassVar[str]
    """SQL that gives a column as text, whatever its type; `{}` is the column."""
    whole_time: ClassVar[str]
    """SQL that gives a time of Breezeway's own table as text with six decimals; `{}` is it."""
    late_indexes: ClassVar[bool] = False
    """Whether a load into an empty table may make its indexes at the end, in its transaction."""
    rows_a_statement: ClassVar[int] = 1
    """How many rows a load inserts by one statement, where the driver does not join them itself."""

    def __init__(self, url: sa.URL, query_seconds: float):
        self.url = url
        self.query_seconds = query_seconds

    @property
    def connect_arguments(self) -> Mapping[str, Any]:
        """Arguments of the driver when SQLAlchemy connects."""
        return {}

    def prepare(self) -> None:  # noqa: B027, most have nothing to prepare
        """Prepare the database before tables are created."""

    def begin(self, connection: sa.Connection) -> None:  # noqa: B027, most have nothing to set
        """What each transaction begins with."""

    @abstractmethod
    def lock(self, connection: sa.Connection) -> None:
        """Begin a transaction while no other process is in one that began so.

        The lock ends with the connection or before, with the transaction.

        Raises:
            TryAgain, or an error that `judge` makes one: another process was for `BUSY_SECONDS`.
        """

    def in_place_of(self, keys: Sequence[str], values: Sequence[str]) -> str:
        """SQL behind an INSERT that replaces the values of a row with the same keys."""
        new = ", ".join(f"{name} = excluded.{name}" for name in values)
        return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {new}"

    @abstractmethod
    def blocks(self, query: str, columns: Sequence[Column]) -> Iterator[Block]:
        """Read the result of a SELECT in constant memory; every write is refused.

        Raises:
            DataError: a column is missing, is there twice, or has a wrong type for its kind.
        """

    @abstractmethod
    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a SELECT with a small result; every write is refused."""

    @abstractmethod
    def names(self, query: str) -> list[str]:
        """The names of the columns of a SELECT."""

    @abstractmethod
    def type_of_times(self, table: SourceTable, dates: Dates) -> TimeType:
        """What the column of times may hold.

        Args:
            table: where the readings are.
            dates: those that are asked for, without the last.

        Raises:
            DataError: it holds something else than is expected, such as numbers among times: a
                comparison with a day would find none of them.
        """

    @abstractmethod
    def judge(self, error: Any) -> tuple[type[BreezewayError], str]:
        """Our class for an error of the driver, and its text."""

    @property
    def too_long(self) -> str:
        """What is said of a query that reached the limit of time."""
        return (
            f"the query was ended after {self.query_seconds:g} s (BREEZEWAY_QUERY_SECONDS); select "
            "less, such as fewer days, or raise the setting"
        )


def find_columns(names: list[str], columns: Sequence[Column]) -> list[int | None]:
    """The position of each wanted column in a result, ignoring case; None if it is missing, or if
    it is an id that is there twice, as in a join.

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
    lower = [name if name != "id" or lower.count(name) == 1 else "" for name in lower]
    for column in columns:
        if lower.count(column.name.lower()) > 1:
            raise DataError(f"--query gives the column {column.name!r} more than once.")
    return [lower.index(c.name.lower()) if c.name.lower() in lower else None for c in columns]


def refuse_type(column: Column, found: str) -> NoReturn:
    raise DataError(
        f"The column {column.name!r} has the type {found}; expected {EXPECTED[column.kind]}."
    )
