"""Raw readings: appended once, read by one SELECT that cannot write, in memory that stays flat."""

import hashlib
import json
import logging
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pymysql
import sqlalchemy as sa
from pymysql.constants import CR, ER, FIELD_TYPE
from sqlalchemy.dialects import mysql

from breezeway.core.errors import (
    BreezewayError,
    DataError,
    ServiceUnavailable,
    TryAgain,
    UsageError,
)
from breezeway.readings import mysql_wire
from breezeway.readings.query import check_query, dialect_of

log = logging.getLogger(__name__)

TIME = pa.timestamp("us", tz="UTC")

READINGS = pa.schema(
    [
        ("device", pa.string()),
        ("time", TIME),
        ("payload", pa.string()),
        ("label", pa.int8()),
    ]
)
"""What `stream` gives; a chunk with a label that is neither 0 nor 1 has int64 labels."""

LABELS = pa.schema(
    [
        ("device", pa.string()),
        ("start", TIME),
        ("end", TIME),
        ("labelled_by", pa.string()),
        ("labelled_at", TIME),
    ]
)
"""Fault intervals; who said so and when are null where nobody noted it."""

_NOTES = ("labelled_by", "labelled_at")

REVIEWS = pa.schema([*LABELS, ("fault", pa.bool_())])
"""Stretches of readings that a person has looked at, and whether each is a fault."""

CHUNK_BYTES = 256 << 20
"""A chunk is handed over when it reaches this, however few its rows."""

_INSERT_ROWS = 10_000
_SQLITE_FETCH_ROWS = 10_000
_BUSY_SECONDS = 30

_TEXT = {
    FIELD_TYPE.VARCHAR,
    FIELD_TYPE.VAR_STRING,
    FIELD_TYPE.STRING,
    FIELD_TYPE.TINY_BLOB,
    FIELD_TYPE.BLOB,
    FIELD_TYPE.MEDIUM_BLOB,
    FIELD_TYPE.LONG_BLOB,
    FIELD_TYPE.JSON,
}
_INTEGER = {
    FIELD_TYPE.TINY,
    FIELD_TYPE.SHORT,
    FIELD_TYPE.INT24,
    FIELD_TYPE.LONG,
    FIELD_TYPE.LONGLONG,
}
_MYSQL_KINDS = {
    "device": _TEXT | _INTEGER,
    "time": _TEXT | {FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP, FIELD_TYPE.DATE},
    "payload": _TEXT,
    "label": _INTEGER,
}
_MYSQL_KIND_NAMES = {
    code: name for name, code in vars(FIELD_TYPE).items() if not name.startswith("_")
}
_SQLITE_KINDS = {
    "device": {bytes, int},
    "time": {bytes},
    "payload": {bytes},
    "label": {int},
}
_SQLITE_KIND_NAMES = {bytes: "text", int: "integer", float: "real"}
_EXPECTED = {
    "device": "text or a whole number",
    "time": "a time (UTC) or its ISO text, such as '2026-01-31 12:00:00'",
    "payload": "text",
    "label": "a whole number, 0 or 1",
}

_SERVER_AWAY = {
    CR.CR_CONNECTION_ERROR,
    CR.CR_CONN_HOST_ERROR,
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    CR.CR_SERVER_LOST_EXTENDED,
    ER.CON_COUNT_ERROR,
    ER.SERVER_SHUTDOWN,
    ER.NET_READ_ERROR,
    ER.NET_READ_INTERRUPTED,
    ER.NET_ERROR_ON_WRITE,
    ER.NET_WRITE_INTERRUPTED,
    ER.DISK_FULL,
    ER.RECORD_FILE_FULL,
    ER.QUERY_INTERRUPTED,
    1927,  # MariaDB: connection was killed
}
_LOST_A_RACE = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK}

_metadata = sa.MetaData()
_utc = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_mysql_table = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}

_readings = sa.Table(
    "readings",
    _metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("time", _utc, nullable=False),
    sa.Column("payload", sa.Text(2**24 - 1)),  # MySQL's MEDIUMTEXT
    sa.Column("label", sa.SmallInteger),
    sa.Index("readings_device_time", "device", "time"),
    sa.Index("readings_time", "time"),
    **_mysql_table,
)
_labels = sa.Table(
    "labels",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("start_time", _utc, nullable=False),
    sa.Column("end_time", _utc, nullable=False),
    sa.Column("labelled_by", sa.String(255)),
    sa.Column("labelled_at", _utc),
    sa.Index("labels_device_start", "device", "start_time"),
    **_mysql_table,
)
_reviews = sa.Table(
    "reviews",
    _metadata,
    sa.Column("content", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("start_time", _utc, nullable=False),
    sa.Column("end_time", _utc, nullable=False),
    sa.Column("fault", sa.SmallInteger, nullable=False),
    sa.Column("labelled_by", sa.String(255), nullable=False),
    sa.Column("labelled_at", _utc, nullable=False),
    **_mysql_table,
)
_loads = sa.Table(
    "loads",
    _metadata,
    sa.Column("content", sa.String(64), primary_key=True),
    sa.Column("source", sa.String(255), nullable=False),
    sa.Column("loaded_at", _utc, nullable=False),
    **_mysql_table,
)


class RawStore:
    """The table of readings, in MySQL, MariaDB or a SQLite file.

    Args:
        address: SQLAlchemy address: `mysql+pymysql://user:password@host/database` (a unix
            socket as `?unix_socket=/path`) or `sqlite:////path/of/file`.

    Raises:
        UsageError: the address is none of these.

    Example:
        >>> store = RawStore("sqlite:////tmp/readings.db")  # doctest: +SKIP
        >>> for chunk in store.stream("SELECT * FROM readings"):  # doctest: +SKIP
        ...     print(chunk.num_rows)
    """

    def __init__(self, address: str):
        self._dialect = dialect_of(address)
        try:
            self._url = sa.make_url(address)
            arguments = {"timeout": _BUSY_SECONDS} if self._dialect == "sqlite" else {}
            self._engine = sa.create_engine(
                self._url, poolclass=sa.NullPool, connect_args=arguments
            )
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, ValueError):
            # Not the parser's own words: they may hold the password.
            raise UsageError(
                "BREEZEWAY_RAW_URL is no address of a store: expected "
                "mysql+pymysql://user:password@host/database or sqlite:////path/of/file."
            ) from None
        if self._dialect == "mysql" and self._url.get_driver_name() != "pymysql":
            raise UsageError("BREEZEWAY_RAW_URL: use mysql+pymysql://… for MySQL and MariaDB.")
        if not self._url.database or self._url.database == ":memory:":
            raise UsageError("BREEZEWAY_RAW_URL names no database.")

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def create(self) -> None:
        """Make the tables that are not there yet, and the columns that an older release lacked.

        Raises:
            BreezewayError: the store is away, or its user may not create tables.
        """
        try:
            if self._dialect == "sqlite":
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            with self._engine.begin() as connection:
                if self._dialect == "sqlite":
                    # Whoever streams for minutes keeps nobody from writing.
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                for table in _metadata.sorted_tables:
                    connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
                    self._add_columns(connection, table)
                    for index in table.indexes:
                        self._create_index(connection, index)
        except (sa.exc.DBAPIError, OSError) as error:
            self._fail(error)

    def loads(self) -> dict[str, str]:
        """What was loaded: the content's SHA-256 and where it came from."""
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(sa.select(_loads.c.content, _loads.c.source))
                return {row.content: row.source for row in rows}
        except (sa.exc.DBAPIError, OSError) as error:
            self._fail(error)

    def append(
        self,
        readings: pa.Table | Iterable[pa.Table],
        source_hash: str | None = None,
        *,
        source: str = "",
        labels: pa.Table | None = None,
    ) -> int:
        """Append readings, in one transaction: all of them are there afterwards, or none.

        Args:
            readings: columns device, time (naive is UTC), payload and, where there are any,
                label; a large load comes as an iterable of such tables.
            source_hash: SHA-256 of the content. What was appended under it once is not
                appended again.
            source: where the content came from, for people.
            labels: fault intervals of the same load, as for `append_labels`.

        Returns:
            Number of rows appended; 0 when the content was there already.

        Raises:
            DataError: a column is missing, or a value does not fit.
            ServiceUnavailable: the store is away.
            TryAgain: another writer held the store for too long.
        """
        tables = [readings] if isinstance(readings, pa.Table) else readings
        count = 0
        try:
            with self._engine.begin() as connection:
                if source_hash and not self._note_load(connection, source_hash, source):
                    return 0
                for table in tables:
                    count += self._insert(connection, "readings", _as_readings(table))
                if labels is not None:
                    self._insert(connection, "labels", _labels_to_insert(labels))
        except (sa.exc.DBAPIError, OSError) as error:
            self._fail(error)
        return count

    def append_labels(self, labels: pa.Table) -> int:
        """Append fault intervals: device, start, end (naive is UTC).

        Where it is known, `labelled_by` says who found the fault, and `labelled_at` when.

        Raises:
            DataError: a column is missing, or an interval ends before it begins.
        """
        try:
            with self._engine.begin() as connection:
                return self._insert(connection, "labels", _labels_to_insert(labels))
        except (sa.exc.DBAPIError, OSError) as error:
            self._fail(error)

    def append_reviews(self, reviews: pa.Table) -> int:
        """Keep what people said of stretches of readings; each fault becomes a label.

        In one transaction. What the same person has said of the same stretch before changes
        nothing.

        Args:
            reviews: as `REVIEWS`, nothing of it null.

        Returns:
            Number of those that were new.

        Raises:
            DataError: a device has no readings, or a stretch ends before it begins.
            ServiceUnavailable: the store is away.
            TryAgain: another was writing the same.
        """
        whole = _as_schema(reviews, REVIEWS)
        labels = _labels_to_insert(whole)
        keys = [_review_key(row) for row in whole.to_pylist()]
        try:
            with self._engine.begin() as connection:
                for device in sorted(set(whole["device"].to_pylist())):
                    self._expect_device(connection, device)
                known = set(connection.execute(sa.select(_reviews.c.content)).scalars())
                rows = {key: row for row, key in enumerate(keys) if key not in known}
                unknown = pa.array(rows.values(), pa.int64())
                new, fault = labels.take(unknown), whole["fault"].take(unknown)
                kept = new.append_column("content", pa.array(rows, pa.string()))
                self._insert(
                    connection, "reviews", kept.append_column("fault", fault.cast(pa.int8()))
                )
                self._insert(connection, "labels", new.filter(fault))
                return len(rows)
        except sa.exc.IntegrityError:
            raise TryAgain("Another was importing the same labels.") from None
        except (sa.exc.DBAPIError, OSError) as error:
            self._fail(error)

    def reviews(self) -> pa.Table:
        """Stretches that a person has looked at, as `LABELS`; none where nobody has yet."""
        try:
            there = sa.inspect(self._engine).has_table("reviews")
        except (sa.exc.DBAPIError, OSError) as error:
            self._fail(error)
        return self.labels("reviews") if there else LABELS.empty_table()

    def labels(self, table: str = "labels") -> pa.Table:
        """All fault intervals, by device and start.

        Args:
            table: its name in the store; it has the columns device, start_time and end_time
                and may have labelled_by and labelled_at.

        Returns:
            As `LABELS`.

        Raises:
            UsageError: there is no such table.
            DataError: a column is missing, a value is null or no time, or an interval ends
                before it begins.
        """
        name = self._engine.dialect.identifier_preparer.quote(table)
        wanted = ["device", "start_time", "end_time"]
        kinds = dict(zip(wanted, ("device", "time", "time"), strict=True))
        kinds |= {"labelled_by": "device", "labelled_at": "time"}
        query = f"SELECT * FROM {name} ORDER BY device, start_time"
        parts = [_labels_table(block) for block in self._blocks(query, wanted, kinds)]
        return _as_labels(pa.concat_tables(parts) if parts else LABELS.empty_table())

    def count_by_day(self, first: date, last: date) -> dict[date, int]:
        """How many readings each day (UTC) of a range has; days without any are left out.

        Raises:
            BreezewayError: the store is away, or has no readings table.
        """
        query = (
            "SELECT DATE(time), COUNT(*) FROM readings "
            "WHERE time >= {0} AND time < {0} GROUP BY DATE(time)"
        )
        rows = self._ask(query, first.isoformat(), (last + timedelta(days=1)).isoformat())
        return {date.fromisoformat(str(day)): count for day, count in rows}

    def devices_of(self, day: date) -> list[str]:
        """The names of the devices that have readings on a day (UTC), in order."""
        # MySQL takes 'a' and 'A' for one name otherwise.
        device = "device" if self._dialect == "sqlite" else "CAST(device AS BINARY)"
        query = f"SELECT DISTINCT {device} FROM readings WHERE time >= {{0}} AND time < {{0}}"
        rows = self._ask(query, day.isoformat(), (day + timedelta(days=1)).isoformat())
        return sorted(name.decode() if isinstance(name, bytes) else str(name) for (name,) in rows)

    def devices_ahead(self, moment: datetime) -> dict[str, tuple[int, datetime]]:
        """Devices with readings dated after a moment: how many, and the latest time.

        Raises:
            BreezewayError: the store is away, or has no readings table.
        """
        query = "SELECT device, COUNT(*), MAX(time) FROM readings WHERE time > {0} GROUP BY device"
        after = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        return {
            str(device): (count, _one_time(str(latest), "time"))
            for device, count, latest in self._ask(query, after)
        }

    def last_readings(
        self, device: str, before: date, count: int, label: str | None = None
    ) -> list[tuple[datetime, str | None, int | None]]:
        """A device's last readings before a day (UTC): time, payload, label; newest first.

        Args:
            device: its name.
            before: the day.
            count: at most so many.
            label: the column that holds the label; unset, the label is null.
        """
        column = self._engine.dialect.identifier_preparer.quote(label) if label else "NULL"
        same = "device = {0}" + ("" if self._dialect == "sqlite" else " AND BINARY device = {0}")
        query = (
            f"SELECT time, payload, {column} FROM readings WHERE {same} AND time < {{0}} "
            f"ORDER BY time DESC LIMIT {count:d}"
        )
        names = [device] * same.count("{0}")
        rows = self._ask(query, *names, before.isoformat())
        return [(_one_time(str(time), "time"), payload, value) for time, payload, value in rows]

    def stream(
        self, query: str, chunk_rows: int = 32_768, label: str | None = None
    ) -> Iterator[pa.Table]:
        """Read what one SELECT gives, chunk by chunk, in the order in which it comes.

        Memory holds about two chunks at a time, whatever the number of rows. The engine itself
        is told to refuse every write.

        Args:
            query: one SELECT with the columns device, time and payload; others are left out.
            chunk_rows: rows of a chunk; the last one has fewer, and so has one that reaches
                256 MiB.
            label: the column that holds the label and must be there. Unset, a column `label`
                is taken where there is one.

        Yields:
            Tables with the schema `READINGS`, at least one row each; where no row is found,
            none. Label is null where the query has none. Device, time and payload are null
            where the store's are. A chunk in which a label is neither 0, 1 nor null has
            labels of int64, so that none is lost.

        Raises:
            UsageError: the query is not one SELECT, or the store cannot run it.
            DataError: a column is missing or has a type that cannot be what it is named.
            ServiceUnavailable: the store is away, or goes away in the midst.
        """
        if chunk_rows < 1:
            raise UsageError(f"chunk_rows: expected at least 1, got {chunk_rows}.")
        query = check_query(query, self._url.drivername)
        wanted = ["device", "time", "payload"] + ([label] if label else [])
        kinds = {**{name: name for name in wanted[:3]}, label or "label": "label"}
        parts: list[pa.Table] = []
        rows = size = 0
        for block in self._blocks(query, wanted, kinds):
            table = _readings_table(block)
            parts.append(table)
            rows += table.num_rows
            size += table.nbytes
            while rows >= chunk_rows or size >= CHUNK_BYTES:
                whole = pa.concat_tables(parts)
                yield _narrow(whole.slice(0, chunk_rows))
                rest = whole.slice(chunk_rows)
                rows, size = rest.num_rows, rest.nbytes
                parts = [rest] if rows else []
                del whole
        if rows:
            yield _narrow(pa.concat_tables(parts))

    def _ask(self, query: str, *values: str) -> list[tuple]:
        """A small result; `{0}` in the query stands for the next value."""
        mark = "?" if self._dialect == "sqlite" else "%s"
        try:
            with self._engine.connect() as connection:
                rows = connection.exec_driver_sql(query.format(mark), values)
                return [tuple(row) for row in rows]
        except (sa.exc.DBAPIError, OSError) as error:
            self._fail(error)

    # -- writing

    def _add_columns(self, connection: sa.Connection, table: sa.Table) -> None:
        there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name in there:
                continue
            text = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            try:
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {text}")
            except sa.exc.DBAPIError as error:
                # Another process was faster; neither MySQL nor SQLite has IF NOT EXISTS here.
                if not re.search("(?i)duplicate column name", str(error.orig)):
                    raise

    def _create_index(self, connection: sa.Connection, index: sa.Index) -> None:
        try:
            index.create(connection, checkfirst=True)
        except sa.exc.DBAPIError as error:
            # Another process was faster; MySQL has no IF NOT EXISTS here.
            if not re.search("already exists|Duplicate key name", str(error.orig)):
                raise

    def _expect_device(self, connection: sa.Connection, device: str) -> None:
        readings = sa.select(_readings.c.id).where(_readings.c.device == device).limit(1)
        if connection.execute(readings).first() is None:
            raise DataError(f"The raw store has no readings of a device {device!r}.")

    def _note_load(self, connection: sa.Connection, content: str, source: str) -> bool:
        """Enter a load in the ledger; False when it is there. Locks out the same load."""
        entry = {
            "content": content,
            "source": source[:255],
            "loaded_at": datetime.now(UTC).replace(tzinfo=None),
        }
        try:
            connection.execute(sa.insert(_loads), entry)
        except sa.exc.IntegrityError:
            return False
        return True

    def _insert(self, connection: sa.Connection, table: str, values: pa.Table) -> int:
        """Insert by the driver's own bulk call; times as text that sorts as time does."""
        mark = "?" if self._dialect == "sqlite" else "%s"
        marks = ", ".join([mark] * values.num_columns)
        statement = f"INSERT INTO {table} ({', '.join(values.column_names)}) VALUES ({marks})"
        for start in range(0, values.num_rows, _INSERT_ROWS):
            part = values.slice(start, _INSERT_ROWS)
            columns = [
                pc.strftime(c, "%Y-%m-%d %H:%M:%S") if pa.types.is_timestamp(c.type) else c
                for c in part.columns
            ]
            rows = list(zip(*(c.to_pylist() for c in columns), strict=True))
            connection.exec_driver_sql(statement, rows)
        return values.num_rows

    # -- reading

    def _blocks(
        self, query: str, wanted: list[str], kinds: dict[str, str]
    ) -> Iterator[list[pa.Array | None]]:
        """The columns named in `kinds`, in its order, a few thousand rows at a time.

        Args:
            query: a SELECT.
            wanted: the columns that must be there.
            kinds: column -> device, time, payload or label: which types it may have.

        Yields:
            Per column a binary array (text as the store has it), or None where it is absent.
        """
        try:
            if self._dialect == "sqlite":
                yield from self._blocks_of_sqlite(query, wanted, kinds)
            else:
                yield from self._blocks_of_mysql(query, wanted, kinds)
        except (sqlite3.Error, pymysql.MySQLError, OSError) as error:
            self._fail(error)

    def _blocks_of_mysql(self, query, wanted, kinds) -> Iterator[list[pa.Array | None]]:
        arguments, options = self._engine.dialect.create_connect_args(self._url)
        with closing(pymysql.connect(*arguments, **options)) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                # The server reads quotes as check_query does, gives times as UTC, and waits
                # while the caller is busy with a chunk.
                cursor.execute(
                    "SET SESSION sql_mode = '', time_zone = '+00:00', net_write_timeout = 86400"
                )
            columns = mysql_wire.execute(connection, query)
            found = _find_columns([c.name for c in columns], wanted, kinds)
            for name, index in found.items():
                if index is not None:
                    kind = columns[index].kind
                    if kind != FIELD_TYPE.NULL and kind not in _MYSQL_KINDS[kinds[name]]:
                        _refuse_type(name, kinds[name], _MYSQL_KIND_NAMES.get(kind, str(kind)))
            kept = set(found.values()) - {None}
            for block in mysql_wire.blocks(connection, len(columns), kept):
                yield [None if i is None else block[i] for i in found.values()]

    def _blocks_of_sqlite(self, query, wanted, kinds) -> Iterator[list[pa.Array | None]]:
        path = Path(self._url.database).absolute()
        uri = f"file:{quote(str(path))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.set_authorizer(_allow_reading)
            connection.text_factory = bytes  # Arrow decodes faster, and bad UTF-8 is no error
            cursor = connection.execute(query)
            if cursor.description is None:
                raise sqlite3.ProgrammingError("the statement gives no rows")
            names = [column[0] for column in cursor.description]
            found = _find_columns(names, wanted, kinds)
            while rows := cursor.fetchmany(_SQLITE_FETCH_ROWS):
                yield [
                    None if i is None else _from_sqlite([row[i] for row in rows], name, kinds[name])
                    for name, i in found.items()
                ]

    # -- failing

    def _fail(self, error: Exception) -> NoReturn:
        """Turn a driver's error into one of ours, without the password."""
        if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
            error = error.orig
        if isinstance(error, sqlite3.Error):
            kind, text = _judge_sqlite(error)
        elif isinstance(error, pymysql.MySQLError):
            kind, text = _judge_mysql(error)
        else:
            kind, text = ServiceUnavailable, str(error)
        if self._url.password:
            text = text.replace(str(self._url.password), "***")
        raise kind(f"Raw store {self}: {text}.") from None


# -- columns of a result


def _find_columns(
    names: list[str], wanted: list[str], kinds: dict[str, str]
) -> dict[str, int | None]:
    """Where each column of `kinds` stands in a result; None where it does not.

    Raises:
        DataError: one that is wanted is missing, or is there twice.
    """
    lower = [name.lower() for name in names]
    missing = [name for name in wanted if name.lower() not in lower]
    if missing:
        raise DataError(
            f"--query gives no column {', '.join(map(repr, missing))}; it gives "
            f"{', '.join(map(repr, names))}."
        )
    for name in kinds:
        if lower.count(name.lower()) > 1:
            raise DataError(f"--query gives the column {name!r} more than once.")
    return {name: lower.index(name.lower()) if name.lower() in lower else None for name in kinds}


def _refuse_type(column: str, kind: str, found: str) -> NoReturn:
    raise DataError(
        f"--query: the column {column!r} has the type {found}; expected {_EXPECTED[kind]}."
    )


def _from_sqlite(values: list[Any], name: str, kind: str) -> pa.Array:
    """One column as SQLite gives it; its values may differ in type from row to row.

    Raises:
        DataError: a value is of a type that the column cannot have.
    """
    found = set(map(type, values)) - {type(None)}
    for other in found - _SQLITE_KINDS[kind]:
        _refuse_type(name, kind, _SQLITE_KIND_NAMES[other])
    if kind == "label":
        return pa.array(values, pa.int64())
    if int in found:
        values = [str(v).encode() if isinstance(v, int) else v for v in values]
    return pa.array(values, pa.binary())


def _readings_table(block: list[pa.Array | None]) -> pa.Table:
    device, time, payload, label = block
    count = len(device)
    labels = pa.nulls(count, pa.int64()) if label is None else _integer(label)
    return pa.table(
        [_text(device), _time(time, "time"), _text(payload), labels],
        names=READINGS.names,
    )


def _labels_table(block: list[pa.Array | None]) -> pa.Table:
    device, start, end, who, when = block
    nobody = pa.nulls(len(device), pa.binary())
    columns = [_text(device), _time(start, "start_time"), _time(end, "end_time")]
    columns += [
        _text(nobody if who is None else who),
        _time(nobody if when is None else when, "labelled_at"),
    ]
    return pa.table(columns, schema=LABELS)


def _narrow(table: pa.Table) -> pa.Table:
    """Labels as int8, unless there is one that is neither 0 nor 1."""
    label = table["label"]
    if pc.all(pc.is_in(label, pa.array([0, 1, None], label.type)), min_count=0).as_py():
        return table.cast(READINGS)
    return table


def _text(values: pa.Array) -> pa.Array:
    """Decode; bytes that are no UTF-8 become U+FFFD, which the contract's check then finds."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        decoded = [None if v is None else v.decode(errors="replace") for v in values.to_pylist()]
        return pa.array(decoded, pa.string())


def _integer(values: pa.Array) -> pa.Array:
    if pa.types.is_integer(values.type):
        return values
    try:
        return values.cast(pa.string()).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"--query: the column 'label': {error}.") from None


def _time(values: pa.Array, column: str) -> pa.Array:
    """Times as UTC; text without a zone is UTC.

    Raises:
        DataError: a value is no time.
    """
    text = _text(values)
    for kind in (pa.timestamp("us"), TIME):  # Arrow reads all with a zone, or all without one
        try:
            return text.cast(kind).cast(TIME)
        except pa.ArrowInvalid:
            continue
    return pa.array([_one_time(value, column) for value in text.to_pylist()], TIME)


def _one_time(value: str | None, column: str) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise DataError(
            f"--query: the column {column!r} holds {value[:60]!r}; expected {_EXPECTED['time']}."
        ) from None


# -- tables to append


def _as_readings(table: pa.Table) -> pa.Table:
    if "label" not in table.column_names:
        table = table.append_column("label", pa.nulls(table.num_rows, pa.int8()))
    return _as_schema(table, READINGS, nullable=("payload", "label"))


def _as_labels(table: pa.Table) -> pa.Table:
    for name in _NOTES:
        if name not in table.column_names:
            kind = LABELS.field(name).type
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    table = _as_schema(table, LABELS, nullable=_NOTES)
    wrong = pc.index(pc.less(table["start"], table["end"]), False).as_py()
    if wrong >= 0:
        row = table.slice(wrong, 1).to_pylist()[0]
        raise DataError(
            f"Labels, row {wrong + 1}: the fault of {row['device']!r} that starts at "
            f"{row['start']:%Y-%m-%d %H:%M:%S} ends at {row['end']:%Y-%m-%d %H:%M:%S}; "
            "expected a later time."
        )
    return table


def _review_key(review: dict[str, Any]) -> str:
    """The same where the same person says the same of the same stretch, whenever that is."""
    said = [str(review[name]) for name in ("device", "start", "end", "fault", "labelled_by")]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _labels_to_insert(table: pa.Table) -> pa.Table:
    return _as_labels(table).rename_columns({"start": "start_time", "end": "end_time"})


def _as_schema(table: pa.Table, schema: pa.Schema, nullable: tuple[str, ...] = ()) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            raise DataError(
                f"The column {field.name!r} is missing; there are {', '.join(table.column_names)}."
            )
        try:
            column = table[field.name].cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"The column {field.name!r}: {error}.") from None
        if column.null_count and field.name not in nullable:
            row = pc.index(column.is_null(), True).as_py() + 1
            raise DataError(f"Row {row}: {field.name!r} is null.")
        columns.append(column)
    return pa.table(columns, schema=schema)


# -- errors of the engines


def _allow_reading(action: int, *_: str | None) -> int:
    allowed = (
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    )
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _judge_sqlite(error: sqlite3.Error) -> tuple[type[BreezewayError], str]:
    # The primary result code; the lowest byte of the extended one.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    kinds: dict[int, type[BreezewayError]] = {
        sqlite3.SQLITE_BUSY: TryAgain,
        sqlite3.SQLITE_LOCKED: TryAgain,
        sqlite3.SQLITE_CANTOPEN: ServiceUnavailable,
        sqlite3.SQLITE_IOERR: ServiceUnavailable,
        sqlite3.SQLITE_FULL: ServiceUnavailable,
        sqlite3.SQLITE_CORRUPT: DataError,
        sqlite3.SQLITE_NOTADB: DataError,
        sqlite3.SQLITE_CONSTRAINT: DataError,
        sqlite3.SQLITE_TOOBIG: DataError,
    }
    return kinds.get(code, UsageError), str(error)


def _judge_mysql(error: pymysql.MySQLError) -> tuple[type[BreezewayError], str]:
    code, text = error.args if len(error.args) == 2 else (0, str(error))
    if code in _SERVER_AWAY:
        return ServiceUnavailable, text
    if code in _LOST_A_RACE:
        return TryAgain, text
    if isinstance(error, pymysql.DataError | pymysql.IntegrityError):
        return DataError, text
    return UsageError, text
