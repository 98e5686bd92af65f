"""The tables that Breezeway creates in a raw store."""

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

_metadata = sa.MetaData()
_utc = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_mysql_options: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}

readings = sa.Table(
    "readings",
    _metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("time", _utc, nullable=False),
    sa.Column("payload", sa.Text(2**24 - 1)),  # MySQL's MEDIUMTEXT
    sa.Column("label", sa.SmallInteger),
    sa.Index("readings_device_time", "device", "time"),
    sa.Index("readings_time", "time"),
    **_mysql_options,
)
labels = sa.Table(
    "labels",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("start_time", _utc, nullable=False),
    sa.Column("end_time", _utc, nullable=False),
    sa.Column("labelled_by", sa.String(255)),
    sa.Column("labelled_at", _utc),
    sa.Index("labels_device_start", "device", "start_time"),
    **_mysql_options,
)
reviews = sa.Table(
    "reviews",
    _metadata,
    sa.Column("content", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("start_time", _utc, nullable=False),
    sa.Column("end_time", _utc, nullable=False),
    sa.Column("fault", sa.SmallInteger, nullable=False),
    sa.Column("labelled_by", sa.String(255), nullable=False),
    sa.Column("labelled_at", _utc, nullable=False),
    **_mysql_options,
)
loads = sa.Table(
    "loads",
    _metadata,
    sa.Column("content", sa.String(64), primary_key=True),
    sa.Column("source", sa.String(255), nullable=False),
    sa.Column("loaded_at", _utc, nullable=False),
    **_mysql_options,
)


def create(connection: sa.Connection) -> None:
    """Create missing tables, and columns that an older release did not have."""
    for table in _metadata.sorted_tables:
        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
        _add_columns(connection, table)
        for index in table.indexes:
            _create_index(connection, index)


def _add_columns(connection: sa.Connection, table: sa.Table) -> None:
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


def _create_index(connection: sa.Connection, index: sa.Index) -> None:
    try:
        index.create(connection, checkfirst=True)
    except sa.exc.DBAPIError as error:
        # Another process was faster; MySQL has no IF NOT EXISTS here.
        if not re.search("already exists|Duplicate key name", str(error.orig)):
            raise
