"""The tables that Breezeway creates in a raw store.

A table of the same name that somebody else made is read, and never altered.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from breezeway.core.errors import UsageError

_metadata = sa.MetaData()
LATER = {"later": True}
"""Marks what the first release did not have."""
_payload = sa.Text(2**24 - 1).with_variant(sa.Text(), "postgresql")
"""MySQL's MEDIUMTEXT."""
_utc = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_mysql_options: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}


def _key(letters: int) -> sa.types.TypeEngine[str]:
    """Text in which 'a' and 'A' differ, also in a key of MySQL."""
    exact = mysql.VARCHAR(letters, collation="utf8mb4_bin")
    return sa.String(letters).with_variant(exact, "mysql", "mariadb")


readings = sa.Table(
    "readings",
    _metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("time", _utc, nullable=False),
    sa.Column("payload", _payload),
    sa.Column("label", sa.SmallInteger),
    sa.Column("load_id", sa.Integer, info=LATER),
    sa.Index("readings_device_time", "device", "time"),
    sa.Index("readings_time", "time"),
    sa.Index("readings_load", "load_id", info=LATER),
    sqlite_autoincrement=True,  # a greater id arrived later, also where readings were deleted
    **_mysql_options,
)
"""`load_id` is the load that brought a reading; null if no file did."""
labels = sa.Table(
    "labels",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("start_time", _utc, nullable=False),
    sa.Column("end_time", _utc, nullable=False),
    sa.Column("labelled_by", sa.String(255), info=LATER),
    sa.Column("labelled_at", _utc, info=LATER),
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
    sa.Column("id", sa.Integer, info=LATER),
    sa.Column("readings", sa.Integer, info=LATER),
    **_mysql_options,
)
"""`id` and `readings`, how many, are null if no file was loaded."""
shared_readings = sa.Table(
    "shared_readings",
    _metadata,
    sa.Column("load_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("reading_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Index("shared_readings_reading", "reading_id"),
    **_mysql_options,
)
"""Loads that have a reading too which another load brought."""
replaced_readings = sa.Table(
    "replaced_readings",
    _metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("time", _utc, nullable=False),
    sa.Column("payload", _payload),
    sa.Column("label", sa.SmallInteger),
    sa.Column("load_id", sa.Integer),
    sa.Column("replaced_by", sa.Integer, nullable=False),
    sa.Index("replaced_readings_device_time", "device", "time"),
    sa.Index("replaced_readings_load", "load_id"),
    **_mysql_options,
)
"""Readings in whose place a load has put others; `replaced_by` is greater the later that was."""
predictions = sa.Table(
    "predictions",
    _metadata,
    sa.Column("device", _key(255), primary_key=True),
    sa.Column("time", _utc, primary_key=True),
    sa.Column("model", _key(63), primary_key=True),
    sa.Column("version", _key(18), primary_key=True),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("alarm", sa.SmallInteger, nullable=False),
    sa.Index("predictions_time", "time"),
    **_mysql_options,
)
"""What `score` wrote; `alarm` is 1 or 0."""


def is_whole(connection: sa.Connection, table: sa.Table) -> bool:
    """Whether a table is there and has all that it should."""
    return not _missing_columns(connection, table) and not _missing_indexes(connection, table)


def create(connection: sa.Connection, table: sa.Table) -> None:
    """Create a table, or what is missing of one that Breezeway created.

    The caller holds the engine's lock, so no other process creates the same.
    """
    if not sa.inspect(connection).has_table(table.name):
        connection.execute(sa.schema.CreateTable(table))
    elif not is_ours(connection, table):
        return
    for column in _missing_columns(connection, table):
        text = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {text}")
    for index in _missing_indexes(connection, table):
        index.create(connection)


def is_ours(connection: sa.Connection, table: sa.Table) -> bool:
    """Whether Breezeway created a table: it has all columns and indexes of the first release.

    Where a process was killed between table and index, the table is empty.
    """
    if any(column.info != LATER for column in _missing_columns(connection, table)):
        return False
    if all(index.info == LATER for index in _missing_indexes(connection, table)):
        return True
    return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is None


def expect_ours(connection: sa.Connection, table: sa.Table) -> None:
    """Make sure that nobody else made a table; it may be missing.

    Raises:
        UsageError: somebody else made it.
    """
    if sa.inspect(connection).has_table(table.name) and not is_ours(connection, table):
        raise UsageError(
            f"The table {table.name!r} of the raw store was not created by Breezeway, which only "
            "reads such a table: rename it, so that Breezeway creates its own, or write to it by "
            "other means."
        )


def _missing_columns(connection: sa.Connection, table: sa.Table) -> list[sa.Column[Any]]:
    inspector = sa.inspect(connection)
    if not inspector.has_table(table.name):
        return list(table.columns)
    there = {column["name"].lower() for column in inspector.get_columns(table.name)}
    return [column for column in table.columns if column.name not in there]


def _missing_indexes(connection: sa.Connection, table: sa.Table) -> list[sa.Index]:
    inspector = sa.inspect(connection)
    is_there = inspector.has_table(table.name)
    names = {i["name"] for i in inspector.get_indexes(table.name)} if is_there else set()
    missing = [index for index in table.indexes if index.name not in names]
    return sorted(missing, key=lambda index: str(index.name))
