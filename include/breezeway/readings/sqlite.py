"""Readings in a SQLite file."""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa

from breezeway.core.errors import (
    BreezewayError,
    DataError,
    ServiceUnavailable,
    TryAgain,
    UsageError,
)
from breezeway.readings.columns import Block, Column, Kind, TimeType
from breezeway.readings.engine import BUSY_SECONDS, Dates, Engine, find_columns, refuse_type
from breezeway.readings.query import REFUSED_FUNCTIONS
from breezeway.readings.source import SourceTable

FETCH_ROWS = 4
"""Rows that are fetched before their bytes are counted."""
BLOCK_ROWS = 10_000
BLOCK_BYTES = 4 << 20
"""A block ends when it reaches either."""
LARGEST_ROW = 16 << 20
"""Bytes of a row, as in MySQL; SQLite refuses a larger one."""
LONGEST_PATTERN = 1000
"""Characters of a LIKE pattern; its time grows with the pattern times the text."""
MEMORY = 128 << 20
"""Bytes of SQLite in this process; the values of a row are among them."""
CACHE_BYTES = 64 << 20
"""Pages that a writer keeps; with SQLite's 2 MB it writes those of its indexes again and again."""
OPERATIONS = 100_000
"""Steps of SQLite's machine, some milliseconds, between two looks at the clock."""

TYPES: dict[Kind, set[type]] = {
    "device": {bytes, int},
    "time": {bytes},
    "local": {bytes},
    "epoch": {int, float},
    "payload": {bytes},
    "value": {bytes, int, float},
    "label": {int},
    "id": {int},
}
TYPE_NAMES = {bytes: "text", int: "integer", float: "real"}

ERRORS: dict[int, type[BreezewayError]] = {
    sqlite3.SQLITE_BUSY: TryAgain,
    sqlite3.SQLITE_LOCKED: TryAgain,
    sqlite3.SQLITE_CANTOPEN: ServiceUnavailable,
    sqlite3.SQLITE_IOERR: ServiceUnavailable,
    sqlite3.SQLITE_FULL: ServiceUnavailable,
    sqlite3.SQLITE_CORRUPT: DataError,
    sqlite3.SQLITE_NOTADB: DataError,
    sqlite3.SQLITE_CONSTRAINT: DataError,
}
NO_FILE = (
    "there is no such file yet. `breezeway load-readings FILE` makes it, and so does `breezeway "
    "simulate`, with readings of a simulated plant"
)
READING = (
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
)


class SQLite(Engine):
    """A file that only one process writes at a time."""

    driver = "pysqlite"
    example = "sqlite:////path/of/file"
    errors = (sqlite3.Error,)
    options = frozenset()
    mark = "?"
    by_index = "INDEXED BY {}"
    exact = "{}"
    text = "{}"
    whole_time = "CAST({} AS CHAR)"
    late_indexes = True
    rows_a_statement = 50

    @property
    def connect_arguments(self) -> Mapping[str, Any]:
        return {"timeout": BUSY_SECONDS}

    @property
    def _path(self) -> Path:
        return Path(str(self.url.database)).absolute()

    def prepare(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        deadline = time.monotonic() + BUSY_SECONDS
        while not (self._path.exists() and self._path.stat().st_size):
            try:
                with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as connection:
                    # A long read does not block a writer. The setting is stored in the file, so a
                    # file that somebody else made keeps its own.
                    connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                # SQLite does not wait for another process that sets it at the same moment.
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def lock(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_BYTES >> 10}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def blocks(self, query: str, columns: Sequence[Column]) -> Iterator[Block]:
        with self._reading(query) as cursor:
            places = find_columns([column[0] for column in cursor.description], columns)
            for rows in _row_blocks(cursor):
                yield [
                    None if place is None else _array([row[place] for row in rows], column)
                    for column, place in zip(columns, places, strict=True)
                ]

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self._reading(query) as cursor:
            return [
                tuple(v.decode(errors="replace") if type(v) is bytes else v for v in row)
                for row in cursor
            ]

    def names(self, query: str) -> list[str]:
        with self._reading(query) as cursor:
            return [column[0] for column in cursor.description]

    @contextmanager
    def _reading(self, query: str) -> Iterator[sqlite3.Cursor]:
        """The rows of a query, in a connection that cannot write; text is bytes."""
        try:
            yield from self._cursor(query)
        except MemoryError:
            raise sqlite3.OperationalError(
                f"the query needs more than {MEMORY >> 20} MiB of memory; select fewer or shorter "
                "values in a row"
            ) from None

    def _cursor(self, query: str) -> Iterator[sqlite3.Cursor]:
        uri = f"file:{quote(str(self._path))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_ROW)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LONGEST_PATTERN)
            connection.execute(f"PRAGMA hard_heap_limit = {MEMORY}")
            connection.set_authorizer(_allow_reading)
            deadline = time.monotonic() + self.query_seconds
            connection.set_progress_handler(lambda: time.monotonic() > deadline, OPERATIONS)
            connection.text_factory = bytes  # Arrow decodes faster, and bad UTF-8 is no error
            cursor = connection.execute(query)
            if cursor.description is None:
                raise sqlite3.ProgrammingError("the statement gives no rows")
            yield cursor

    def type_of_times(self, table: SourceTable, dates: Dates) -> TimeType:
        if table.per_second:
            return "number"
        # SQLite sorts numbers before text, and blobs after it; an index finds both. Some among
        # times are mistakes, as in `_array`; alone they are how this table writes times.
        time, column = table.times.column, table.time
        since, until = dates
        select = f"SELECT {time} FROM {table.rows} WHERE {time}"
        if not any(self.blocks(f"{select} >= '{since}' AND {time} < '{until}' LIMIT 1", [column])):
            for _ in self.blocks(f"{select} < '' OR {time} >= x'' LIMIT 1", [column]):
                refuse_type(column, "blob")
        return "text"

    def judge(self, error: sqlite3.Error) -> tuple[type[BreezewayError], str]:
        # The primary result code; it is the lowest byte of the extended one.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_TOOBIG:
            return DataError, f"a row or a value of more than {LARGEST_ROW >> 20} MiB"
        if code == sqlite3.SQLITE_INTERRUPT:
            return UsageError, self.too_long
        if code == sqlite3.SQLITE_CANTOPEN and not self._path.exists():
            return ServiceUnavailable, NO_FILE
        return ERRORS.get(code, UsageError), str(error)


def _row_blocks(cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
    """The rows, some thousand at a time, or fewer if they are long."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    while fetched := cursor.fetchmany(FETCH_ROWS):
        rows += fetched
        size += sum([len(value) for row in fetched for value in row if type(value) is bytes])
        if size >= BLOCK_BYTES or len(rows) >= BLOCK_ROWS:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _allow_reading(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        # How SQLite declares the columns of json_each; it refuses an UPDATE of this table itself.
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second and second.lower() in REFUSED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY


def _array(values: list[Any], column: Column) -> pa.Array:
    """One column from SQLite; the type of its values may differ from row to row."""
    found = set(map(type, values)) - {type(None)}
    if column.kind == "id" and found != {int} and not (column.required and found):
        return pa.nulls(len(values), pa.int64())
    if column.kind in ("time", "local") and bytes in found and len(found) > 1:
        # Numbers among times are unreadable times; a column of numbers is another kind of column.
        values = [
            f"{value} ({TYPE_NAMES[type(value)]})".encode()
            if type(value) in (int, float)
            else value
            for value in values
        ]
        found = {bytes}
    if column.kind == "epoch" and len(found - {bytes}):
        found -= {bytes}  # text among numbers is an unreadable time
    for other in found - TYPES[column.kind]:
        refuse_type(column, TYPE_NAMES[other])
    if column.kind in ("label", "id"):
        return pa.array(values, pa.int64())
    if int in found or float in found:
        values = [str(v).encode() if isinstance(v, int | float) else v for v in values]
    return pa.array(values, pa.binary())
