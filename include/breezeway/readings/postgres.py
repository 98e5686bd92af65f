"""Readings in PostgreSQL, with or without its extension TimescaleDB."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import adbc_driver_manager as adbc
import orjson
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from breezeway.core.errors import (
    BreezewayError,
    DataError,
    ServiceUnavailable,
    TryAgain,
    UsageError,
)
from breezeway.core.quoting import sql_string
from breezeway.readings import postgres_rows
from breezeway.readings.arrow import are_dates
from breezeway.readings.columns import Block, Column, Kind, TimeType
from breezeway.readings.engine import BUSY_SECONDS, Dates, Engine, find_columns, refuse_type
from breezeway.readings.postgres_tokens import called_names, split
from breezeway.readings.source import SourceTable

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

TEXT = {"text", "varchar", "bpchar", "name", "citext", "json", "jsonb"}
INTEGER = {"int2", "int4", "int8"}
NUMBER = INTEGER | {"float4", "float8", "numeric"}
BITS = {"bit", "varbit"}
LISTS = {"_int2", "_int4", "_int8", "_float4", "_float8", "_numeric"}
TIMES = {"timestamp", "timestamptz", "date"}
UTC_TIME = pa.timestamp("us", "UTC")
TYPES: dict[Kind, set[str]] = {
    "device": TEXT | INTEGER | {"uuid"},
    "time": TEXT | TIMES,
    "local": TEXT | TIMES,
    "epoch": NUMBER,
    "payload": TEXT,
    "value": TEXT | NUMBER | BITS | LISTS | {"bool"},
    "label": INTEGER | BITS | {"bool"},
    "id": INTEGER,
}
OTHER_TIME = "a time that is not of the years 1 to 9999, such as infinity"

SETTINGS = """
    SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true),
    set_config('standard_conforming_strings', 'on', true),
    set_config('lock_timeout', '{lock}', true), set_config('statement_timeout', '{query}', true)
"""
"""The server reads quotes like `check_query`, writes times in UTC, and limits the time (ms) of a
query and of waiting for others. They are of the transaction, so a pool of connections between
here and the server mixes up nothing."""
READ_ONLY = "SET TRANSACTION READ ONLY"

CONNECTION = {
    "connect_timeout": 10,
    # A server whose network has failed is noticed in two minutes, not in two hours.
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "client_encoding": "UTF8",
    "application_name": "breezeway",
}
SILENCE_SECONDS = 60
"""How long a server may be silent after the limit of time. One call of a function on texts of
megabytes, such as POSITION, does not look at the clock."""

HARMLESS = (
    *("random", "random_normal", "array_sample", "array_shuffle", "clock_timestamp"),
    *("timeofday", "gen_random_uuid", "uuidv4", "uuidv7"),
    # TimescaleDB's, which fill gaps: it marks them so that they are not computed too early.
    *("time_bucket_gapfill", "locf", "interpolate"),
)
"""Volatile because each call gives something else, not because it does something."""
FIND_VOLATILE = """
    SELECT DISTINCT proname::text FROM pg_catalog.pg_proc
    WHERE provolatile = 'v' AND lower(proname) = ANY({names}) AND NOT proname = ANY({harmless})
    AND NOT 'pg_catalog.internal'::pg_catalog.regtype = ANY(proargtypes) ORDER BY 1
"""
"""What takes an `internal` value, such as the ways of TABLESAMPLE, no query can call."""

CANCELLED, BUSY = "57014", "55P03"
LOST_A_RACE = {"40001", "40P01", BUSY}
SERVER_AWAY = ("08", "53", "57", "58", "25P")
"""Beginnings of SQLSTATEs: connection, resources, somebody ended it, disk, ended while idle."""
WRONG_DATA = ("22", "23")
REFUSED = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "is not permitted to log in",
    "SSL",
    "certificate",
    "connection info string",
    "invalid connection option",
)
"""Of what cannot be connected to there is no SQLSTATE. This is what another attempt does not
change; in other languages than English it is attempted again."""


class _TooLong(Exception):
    """The query reached its limit of time."""


class PostgreSQL(Engine):
    """A server."""

    driver = "psycopg"
    example = "postgresql+psycopg://user:password@host/database"
    errors = (psycopg.Error, adbc.Error, _TooLong)
    options = frozenset(option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults())
    mark = "%s"
    by_index = ""
    exact = 'CAST({} AS TEXT) COLLATE "C"'  # a column may have a type or a collation without case
    text = "CAST({} AS TEXT)"
    whole_time = "TO_CHAR({}, 'YYYY-MM-DD HH24:MI:SS.US')"

    @property
    def connect_arguments(self) -> Mapping[str, Any]:
        return {name: value for name, value in CONNECTION.items() if name not in self.url.query}

    @property
    def _address(self) -> str:
        _, options = self.url.get_dialect()().create_connect_args(self.url)
        return make_conninfo(**{**options, **self.connect_arguments})

    @property
    def _settings(self) -> str:
        # 0 would be no limit.
        lock, query = (max(1, int(s * 1000)) for s in (BUSY_SECONDS, self.query_seconds))
        return SETTINGS.format(lock=lock, query=query)

    def begin(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(self._settings)

    def lock(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('breezeway'), 0)")

    def blocks(self, query: str, columns: Sequence[Column]) -> Iterator[Block]:
        with self._reading(query) as (schema, batches):
            types = list(map(_type_of, schema))
            places = find_columns(schema.names, columns)
            for number, (column, place) in enumerate(zip(columns, places, strict=True)):
                if place is None:
                    continue
                may_lack = column.kind == "id" and not column.required
                if may_lack and types[place] not in TYPES["id"]:
                    places[number] = None
                elif column.kind != "label" or types[place] != "text":  # which NULL has
                    _check_type(column, types[place])
            for batch in batches:
                yield [
                    None if place is None else _values(batch.column(place), column, types[place])
                    for column, place in zip(columns, places, strict=True)
                ]

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self._asking(query) as cursor:
            return cursor.fetchall()

    def names(self, query: str) -> list[str]:
        with self._asking(query) as cursor:
            return [column.name for column in cursor.description or []]

    def type_of_times(self, table: SourceTable, dates: Dates) -> TimeType:
        with self._asking(f"SELECT {table.times.column} FROM {table.rows} LIMIT 0") as cursor:
            code = (cursor.description or [])[0].type_code
        known = psycopg.adapters.types.get(code)
        if known is None or known.name in TEXT:  # an enumeration is text
            return "text"
        _check_type(table.time, known.name)
        if known.name in NUMBER:
            return "number"
        return "utc" if known.name == "timestamptz" else "naive"

    @contextmanager
    def _asking(self, query: str) -> Iterator[psycopg.Cursor[Any]]:
        """A small result, by the driver that is loaded faster; in such a session too."""
        start = time.monotonic()
        try:
            with psycopg.connect(self._address) as connection, connection.cursor() as cursor:
                cursor.execute(READ_ONLY)
                cursor.execute(self._settings)
                _refuse_volatile(cursor, query)
                cursor.execute(query)
                yield cursor
        except psycopg.errors.QueryCanceled:
            if time.monotonic() - start >= self.query_seconds:
                raise _TooLong(self.too_long) from None
            raise

    @contextmanager
    def _reading(self, query: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """The columns and rows of a query, in a session that cannot write."""
        start = time.monotonic()

        def prepare(cursor: "Cursor") -> None:
            cursor.execute(READ_ONLY)
            cursor.execute(self._settings)
            _refuse_volatile(cursor, query)

        def silence() -> float:
            return SILENCE_SECONDS + max(0, start + self.query_seconds - time.monotonic())

        try:
            with postgres_rows.reading(self._address, prepare, query, silence) as result:
                yield result
        except postgres_rows.Silent:
            raise _TooLong(f"the server was silent; {self.too_long}") from None
        except adbc.Error as error:
            # The text, which tells the limit from somebody's doing, is in the server's language.
            late = time.monotonic() - start >= self.query_seconds
            if error.sqlstate == CANCELLED and late:
                raise _TooLong(self.too_long) from None
            raise

    def judge(self, error: Any) -> tuple[type[BreezewayError], str]:
        if isinstance(error, _TooLong):
            return UsageError, str(error)
        state, text = error.sqlstate, _text_of(error)
        if state is None and isinstance(error, psycopg.OperationalError | adbc.OperationalError):
            refused = any(part in text for part in REFUSED)
            return UsageError if refused else ServiceUnavailable, text
        if state in LOST_A_RACE:
            busy = "another process is writing to the raw store, or has locked a table: "
            return TryAgain, f"{busy if state == BUSY else ''}{text}"
        if state and state.startswith(SERVER_AWAY):
            return ServiceUnavailable, text
        if isinstance(error, psycopg.DataError) or (state and state.startswith(WRONG_DATA)):
            return DataError, text
        return UsageError, text


def _refuse_volatile(cursor: "Cursor | psycopg.Cursor[Any]", query: str) -> None:
    """Refuse functions that the server knows to do more than to read."""
    names, harmless = (
        f"ARRAY[{', '.join(map(sql_string, each))}]::text[]"
        for each in (called_names(split(query)), HARMLESS)
    )
    cursor.execute(FIND_VOLATILE.format(names=names, harmless=harmless))
    if found := [name for (name,) in cursor.fetchall()]:
        raise UsageError(
            f"--query: the function {', '.join(map(repr, found))} is volatile to PostgreSQL: it "
            "may do more than read, and is refused. Leave it out; or, if it is your own and only "
            "reads, declare it STABLE."
        )


def _type_of(field: pa.Field) -> str:
    """The name of a column's type in PostgreSQL; an enumeration is text."""
    name: str = field.metadata[b"POSTGRESQL:type"].decode()
    return "text" if pa.types.is_string(field.type) and name not in TEXT else name


def _check_type(column: Column, found: str) -> None:
    if found not in TYPES[column.kind]:
        refuse_type(column, found)


def _values(values: pa.Array, column: Column, found: str) -> pa.Array:
    """A column as a block has it."""
    if column.kind == "value":
        return _as_text(values, found)
    if column.kind == "label" and found in BITS:
        return _of_bits(values)
    if column.kind in ("label", "id"):
        if values.null_count == len(values):
            return pa.nulls(len(values), pa.int64())
        _check_type(column, found)
        return values.cast(pa.int64())
    if found in NUMBER:
        return _as_text(values, found)
    if pa.types.is_temporal(values.type):
        times = _times(values)
        is_utc = column.kind == "local" and found == "timestamptz"
        return times.cast(UTC_TIME) if is_utc and pa.types.is_timestamp(times.type) else times
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if found == "uuid":
        names = values.dictionary_encode()
        texts = [str(UUID(bytes=value)) for value in names.dictionary.to_pylist()]
        return pa.array(texts, pa.binary()).take(names.indices)
    if found == "bpchar":  # spaces at its end are no part of it
        values = pc.ascii_rtrim(values, " ")
    return values.cast(pa.binary())


def _as_text(values: pa.Array, found: str) -> pa.Array:
    """Values as text; of a list its JSON."""
    if found in BITS:
        return _of_bits(values)
    if pa.types.is_list(values.type):
        lists = values.to_pylist()
        if found == "_numeric":
            lists = [each and [None if v is None else float(v) for v in each] for each in lists]
        return pa.array([None if v is None else orjson.dumps(v) for v in lists], pa.binary())
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    return values.cast(pa.string())


def _of_bits(values: pa.Array) -> pa.Array:
    """Whole numbers. The server sends the number of bits, and then these from the left."""
    bits = values.storage.dictionary_encode()
    numbers = [
        str(int.from_bytes(each[4:]) >> -int.from_bytes(each[:4]) % 8).encode()
        for each in bits.dictionary.to_pylist()
    ]
    return pa.array(numbers, pa.binary()).take(bits.indices)


def _times(values: pa.Array) -> pa.Array:
    """Times; as text if there is one among them that Python does not have."""
    try:
        times = values.cast(pa.timestamp("us"))
        if are_dates(times):
            return times
    except pa.ArrowInvalid:  # a date so far away
        pass
    texts: list[str | None] = []
    for value in values:
        try:
            known = value.as_py()
        except OverflowError:
            texts.append(OTHER_TIME)
        else:
            texts.append(None if known is None else known.isoformat())
    return pa.array(texts, pa.binary())


def _text_of(error: Any) -> str:
    """What the server says, in one line, without the query."""
    if isinstance(error, psycopg.Error):
        primary = error.diag.message_primary
    else:
        primary = dict(error.details).get(b"PG_DIAG_MESSAGE_PRIMARY", b"").decode()
    return primary or " ".join(str(error).split())
