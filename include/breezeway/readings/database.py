"""The database of a raw store: connections, bulk calls, and its errors as ours."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
import sqlalchemy as sa

from breezeway.core.errors import BreezewayError, ServiceUnavailable, UsageError
from breezeway.core.settings import QUERY_SECONDS, redacted
from breezeway.readings import sql_tables
from breezeway.readings.arrow import time_texts
from breezeway.readings.columns import Block, Column
from breezeway.readings.engine import Engine
from breezeway.readings.query import DIALECTS, dialect_of

INSERT_ROWS = 10_000


class Database:
    """A server of MySQL, MariaDB or PostgreSQL, or a SQLite file: what readings and labels both
    need.

    Args:
        address: SQLAlchemy address: `mysql+pymysql://user:password@host/database` (a unix
            socket as `?unix_socket=/path`), `postgresql+psycopg://user:password@host/database` (a
            folder with a unix socket as `?host=/path`) or `sqlite:////path/of/file`.
        query_seconds: how long the store may take for a large result.

    Raises:
        UsageError: the address is none of these.
    """

    tables: ClassVar[tuple[sa.Table, ...]]
    """Those that `create` creates."""
    written: ClassVar[tuple[sa.Table, ...]]
    """Those of them that have to be Breezeway's own."""

    def __init__(self, address: str, query_seconds: float = QUERY_SECONDS):
        kind = engine_of(dialect_of(address))
        try:
            url = sa.make_url(address)
            _check_options(url, kind)
            self._engine = kind(url, query_seconds)
            self._sql = sa.create_engine(
                url, poolclass=sa.NullPool, connect_args=dict(self._engine.connect_arguments)
            )
            sa.event.listen(self._sql, "begin", self._engine.begin)
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, ValueError):
            # Without the parser's message, which may contain the password.
            engines = map(engine_of, dict.fromkeys(DIALECTS.values()))
            examples = " or ".join(each.example for each in engines)
            raise UsageError(
                f"BREEZEWAY_RAW_URL is not an address of a store: expected {examples}."
            ) from None
        if url.get_driver_name() != kind.driver:
            raise UsageError(
                f"BREEZEWAY_RAW_URL: the driver {url.get_driver_name()!r} is not supported: "
                f"expected {kind.example}."
            )
        if not url.database or url.database == ":memory:":
            raise UsageError("BREEZEWAY_RAW_URL names no database.")
        self._url = url

    def __str__(self) -> str:
        return redacted(self._url.render_as_string())

    def create(self) -> None:
        """Create the tables of this store that are missing, and columns that an older release did
        not have.

        Raises:
            UsageError: somebody else made a table that this store writes to; or the user of the
                database may not create tables.
            BreezewayError: the store does not answer.
        """
        with self._judged():
            self._engine.prepare()
            with self._sql.connect() as connection:
                whole = all(sql_tables.is_whole(connection, table) for table in self.tables)
        if not whole:
            with self._alone() as connection:
                for table in self.written:
                    sql_tables.expect_ours(connection, table)
                for table in self.tables:
                    sql_tables.create(connection, table)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """A connection in one transaction: all of its work is done, or none of it."""
        with self._judged(), self._sql.begin() as connection:
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        """The same, while no other process is in such a transaction.

        Raises:
            TryAgain: another process was for too long.
        """
        with self._transaction() as connection:
            self._engine.lock(connection)
            yield connection

    def _quoted(self, name: str) -> str:
        return self._sql.dialect.identifier_preparer.quote(name)

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        """A small result."""
        with self._judged():
            return self._engine.ask(query)

    def _blocks(self, query: str, columns: Sequence[Column]) -> Iterator[Block]:
        """A large result, some thousand rows at a time."""
        with self._judged():
            yield from self._engine.blocks(query, columns)

    def _insert(
        self, connection: sa.Connection, table: str, values: pa.Table, end: str = ""
    ) -> int:
        """Insert with the driver's bulk call; times are text that sorts like time.

        Args:
            end: SQL behind the values.
        """
        marks = ", ".join([self._engine.mark] * values.num_columns)
        statement = f"INSERT INTO {table} ({', '.join(values.column_names)}) VALUES ({marks}) {end}"
        for start in range(0, values.num_rows, INSERT_ROWS):
            part = values.slice(start, INSERT_ROWS)
            columns = [time_texts(c) if pa.types.is_timestamp(c.type) else c for c in part.columns]
            rows = list(zip(*(c.to_pylist() for c in columns), strict=True))
            connection.exec_driver_sql(statement, rows)
        return len(values)

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Raise errors of the driver as ours, without the password."""
        errors: tuple[type[Exception], ...] = (sa.exc.DBAPIError, *self._engine.errors, OSError)
        try:
            yield
        except errors as error:
            original: BaseException = error
            if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
                original = error.orig
            kind: type[BreezewayError] = ServiceUnavailable
            text = str(original)
            if isinstance(original, self._engine.errors):
                kind, text = self._engine.judge(original)
            for secret in (self._url.password, *map(self._url.query.get, ("password", "passwd"))):
                text = text.replace(str(secret), "***") if secret else text
            raise kind(f"Raw store {self}: {text}.") from None


def engine_of(dialect: str) -> type[Engine]:
    """The engine of a dialect. Each brings its driver, so that a process loads only one."""
    if dialect == "mysql":
        from breezeway.readings.mysql import MySQL

        return MySQL
    if dialect == "postgresql":
        from breezeway.readings.postgres import PostgreSQL

        return PostgreSQL
    from breezeway.readings.sqlite import SQLite

    return SQLite


def _check_options(url: sa.URL, kind: type[Engine]) -> None:
    if unknown := sorted(set(url.query) - kind.options):
        raise UsageError(
            f"BREEZEWAY_RAW_URL: {unknown[0][:60]!r} is no option of the driver {kind.driver!r}: "
            f"leave it out, as in {kind.example}."
        )
