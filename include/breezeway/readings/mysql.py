"""Readings in MySQL or MariaDB."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pymysql
import sqlalchemy as sa
from pymysql.constants import CR, ER, FIELD_TYPE
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

from breezeway.core.errors import (
    BreezewayError,
    DataError,
    ServiceUnavailable,
    TryAgain,
    UsageError,
)
from breezeway.readings import mysql_wire
from breezeway.readings.columns import Block, Column, Kind, TimeType
from breezeway.readings.engine import BUSY_SECONDS, Dates, Engine, find_columns, refuse_type
from breezeway.readings.source import SourceTable

TEXT = {
    FIELD_TYPE.VARCHAR,
    FIELD_TYPE.VAR_STRING,
    FIELD_TYPE.STRING,
    FIELD_TYPE.TINY_BLOB,
    FIELD_TYPE.BLOB,
    FIELD_TYPE.MEDIUM_BLOB,
    FIELD_TYPE.LONG_BLOB,
    FIELD_TYPE.JSON,
}
INTEGER = {
    FIELD_TYPE.TINY,
    FIELD_TYPE.SHORT,
    FIELD_TYPE.INT24,
    FIELD_TYPE.LONG,
    FIELD_TYPE.LONGLONG,
}
NUMBER = INTEGER | {
    FIELD_TYPE.DECIMAL,
    FIELD_TYPE.NEWDECIMAL,
    FIELD_TYPE.FLOAT,
    FIELD_TYPE.DOUBLE,
}
TIMES = {FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP, FIELD_TYPE.DATE}
TYPES: dict[Kind, set[int]] = {
    "device": TEXT | INTEGER,
    "time": TEXT | TIMES,
    "local": TEXT | TIMES,
    "epoch": NUMBER,
    "payload": TEXT,
    "value": TEXT | NUMBER | {FIELD_TYPE.BIT},
    "label": INTEGER | {FIELD_TYPE.BIT},
    "id": INTEGER,
}
TYPE_NAMES = {code: name for name, code in vars(FIELD_TYPE).items() if not name.startswith("_")}

SERVER_AWAY = {
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
TIMED_OUT = {1969, 3024}  # MariaDB, MySQL
SILENCE_SECONDS = 60
"""How long a server may be silent after the limit of time. One call of a function on texts of
megabytes, such as LOCATE, does not look at the clock."""
LOST_A_RACE = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK}

SESSION = (
    "SET SESSION sql_mode = '', time_zone = '+00:00', net_write_timeout = 86400"
    " /*M!100101 , max_statement_time = {seconds} */ /*!50708 , max_execution_time = {ms} */"
)
"""The server reads quotes like `check_query`, returns times in UTC, waits while the caller is busy
with a chunk, and limits the time of a query. MariaDB runs the first comment, MySQL the second."""


class MySQL(Engine):
    """A server."""

    driver = "pymysql"
    example = "mysql+pymysql://user:password@host/database"
    errors = (pymysql.MySQLError,)
    options = frozenset(inspect.signature(pymysql.Connection).parameters)
    mark = "%s"
    by_index = "FORCE INDEX ({})"
    exact = "CAST({} AS BINARY)"  # otherwise 'a' and 'A' are the same name
    text = "{}"
    whole_time = "CAST({} AS CHAR)"

    def lock(self, connection: sa.Connection) -> None:
        name = "CONCAT('breezeway ', MD5(DATABASE()))"
        query = f"SELECT GET_LOCK({name}, {BUSY_SECONDS})"
        if connection.exec_driver_sql(query).scalar() != 1:
            raise TryAgain("Another process is writing readings or labels to the raw store.")

    def in_place_of(self, keys: Sequence[str], values: Sequence[str]) -> str:
        # MySQL's newer form is unknown to MariaDB, and to the driver's bulk call.
        new = ", ".join(f"{name} = VALUES({name})" for name in values)
        return f"ON DUPLICATE KEY UPDATE {new}"

    def blocks(self, query: str, columns: Sequence[Column]) -> Iterator[Block]:
        with self._reading() as connection:
            found = mysql_wire.execute(connection, query)
            places = find_columns([column.name for column in found], columns)
            for number, (column, place) in enumerate(zip(columns, places, strict=True)):
                if place is None:
                    continue
                may_lack = column.kind == "id" and not column.required
                if may_lack and found[place].kind not in TYPES["id"]:
                    places[number] = None
                else:
                    _check_type(column, found[place].kind)
            kept = {place for place in places if place is not None}
            for block in mysql_wire.blocks(connection, len(found), kept):
                yield [
                    None if place is None else _values(block[place], column, found[place].kind)
                    for place, column in zip(places, columns, strict=True)
                ]

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self._reading() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def names(self, query: str) -> list[str]:
        with self._reading() as connection:
            return [column.name for column in mysql_wire.execute(connection, query)]

    def type_of_times(self, table: SourceTable, dates: Dates) -> TimeType:
        with self._reading() as connection:
            query = f"SELECT {table.times.column} FROM {table.rows} LIMIT 0"
            kind = mysql_wire.execute(connection, query)[0].kind
        _check_type(table.time, kind)
        if kind in TEXT:
            return "text"
        if kind in NUMBER:
            return "number"
        return "utc" if kind == FIELD_TYPE.TIMESTAMP else "naive"

    @contextmanager
    def _reading(self) -> Iterator[pymysql.Connection]:
        """A connection that cannot write."""
        arguments, options = MySQLDialect_pymysql(dbapi=pymysql).create_connect_args(self.url)
        silent = int(self.query_seconds) + SILENCE_SECONDS
        options = {"read_timeout": silent, **options}
        with closing(pymysql.connect(*arguments, **options)) as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                seconds = self.query_seconds
                cursor.execute(SESSION.format(seconds=seconds, ms=int(seconds * 1000)))
            try:
                yield connection
            except TimeoutError as error:  # between rows, where PyMySQL does not read
                raise pymysql.OperationalError(CR.CR_SERVER_LOST, str(error)) from None

    def judge(self, error: pymysql.MySQLError) -> tuple[type[BreezewayError], str]:
        code, text = error.args if len(error.args) == 2 else (0, str(error))
        if code == CR.CR_SERVER_LOST and "timed out" in text:
            return UsageError, f"the server was silent; {self.too_long}"
        if code in SERVER_AWAY:
            return ServiceUnavailable, text
        if code in TIMED_OUT:
            return UsageError, self.too_long
        if code in LOST_A_RACE:
            return TryAgain, text
        if isinstance(error, pymysql.DataError | pymysql.IntegrityError):
            return DataError, text
        return UsageError, text


def _check_type(column: Column, code: int) -> None:
    if code != FIELD_TYPE.NULL and code not in TYPES[column.kind]:
        refuse_type(column, TYPE_NAMES.get(code, str(code)))


def _values(values: pa.BinaryArray, column: Column, code: int) -> pa.Array:
    """A column as a block has it."""
    if code == FIELD_TYPE.BIT:
        bits = values.dictionary_encode()
        numbers = [str(int.from_bytes(each)).encode() for each in bits.dictionary.to_pylist()]
        return pa.array(numbers, pa.binary()).take(bits.indices)
    if code == FIELD_TYPE.TIMESTAMP and column.kind == "local":
        text = values.cast(pa.string())
        try:
            return text.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        except pa.ArrowInvalid:  # such as 0000-00-00 00:00:00
            return pc.binary_join_element_wise(values, b"+00:00", b"")
    return values
