"""What is said if the user's own database has not what the contract's `[source]` names."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy as sa

from breezeway.core.days import UTC_ZONE
from breezeway.core.errors import DataError, UsageError
from breezeway.readings.arrow import as_text, read_time
from breezeway.readings.engine import Engine
from breezeway.readings.source import PER_SECOND, SourceTable
from breezeway.readings.source_times import reader_of
from breezeway.readings.stretches import Calendar

SHOWN_NAMES = 20
SAMPLE_ROWS = 100
PLAUSIBLE = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Between these are the times of readings: what decides between two units of a number."""


def expect_columns(engine: Engine, sql: sa.Engine, table: SourceTable) -> None:
    """Make sure that the table or query is there and has the columns that the contract names.

    Raises:
        UsageError: one is missing; the message has the key, and the nearest name.
    """
    source = table.source
    if source is None:
        return
    try:
        names = engine.names(f"SELECT * FROM {table.rows} LIMIT 0")
    except engine.errors:
        if source.table is not None:
            _expect_table(sql, source.table)
        raise
    is_exact = engine.driver == "psycopg"
    known = names if is_exact else [name.lower() for name in names]
    for key, name in table.keys().items():
        if (name if is_exact else name.lower()) not in known:
            of = f"the table {source.table!r}" if source.table else "source.query"
            raise UsageError(f"{key}: {of} has no column {name!r}; {_nearest(name, names)}")


def _expect_table(sql: sa.Engine, name: str) -> None:
    schema, _, table = name.rpartition(".")
    with sql.connect() as connection:
        inspector = sa.inspect(connection)
        schemas = inspector.get_schema_names()
        if schema and schema not in schemas:
            raise UsageError(
                f"source.table: there is no schema {schema!r}; {_nearest(schema, schemas)}"
            )
        known = [
            *inspector.get_table_names(schema or None),
            *inspector.get_view_names(schema or None),
        ]
    if table not in known:
        where = f" in {schema!r}" if schema else ""
        raise UsageError(
            f"source.table: there is no table or view {table!r}{where}; {_nearest(table, known)}"
        )


def _nearest(name: str, known: Sequence[str]) -> str:
    by_letters = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), list(by_letters), n=1)
    meant = f"did you mean {by_letters[near[0]]!r}? There" if near else ""
    more = ", …" if len(known) > SHOWN_NAMES else ""
    listed = ", ".join(map(repr, known[:SHOWN_NAMES])) or "nothing that this user may see"
    return f"{meant or 'there'} is {listed}{more}."


def expect_times(engine: Engine, table: SourceTable) -> None:
    """Make sure that some times are as the contract says, where a range of them was empty.

    Raises:
        DataError: none of the first ones is; the message has the format that would fit.
    """
    time = table.times.column
    query = f"SELECT {time} FROM {table.rows} WHERE {time} IS NOT NULL LIMIT {SAMPLE_ROWS}"
    sample = [values for (values,) in engine.blocks(query, [table.time])]
    if not sample:
        return
    values = pa.concat_arrays(sample)
    per_second = table.per_second
    if _fits(values, per_second):
        return
    shown = as_text(values)[0].as_py()[:60]
    said = f"source.time_format: the column {table.time.name!r} holds {shown!r}"
    if per_second is None:
        raise DataError(
            f"{said}, which is no ISO text such as '2026-01-31 12:00:00': make a time of it in "
            "source.query."
        )
    formats = [name for name, unit in PER_SECOND.items() if _fits(values, unit)]
    now = next(name for name, unit in PER_SECOND.items() if unit == per_second)
    hint = f"; did you mean {formats[0]!r}?" if formats else "."
    raise DataError(f"{said}, which as {now!r} is no time between 1990 and 2100{hint}")


def _fits(values: pa.Array, per_second: int | None) -> bool:
    times, _ = reader_of(UTC_ZONE, per_second)(values)
    known = times.drop_null().to_pylist()
    if per_second is None:
        return bool(known)
    return any(PLAUSIBLE[0] < time < PLAUSIBLE[1] for time in known)


# -- text with an offset from UTC


def condition_of_offset(times: Calendar, since: date, until: date) -> str:
    """The condition of times that have an offset.

    Text is compared letter by letter, which is right only for times of one zone.
    """

    def at_the_end(place: int, count: int | None = None) -> str:
        # Not each database counts back.
        return f"SUBSTR({times.column}, LENGTH({times.column}) - {place - 1}, {count or place})"

    has = [f"{at_the_end(place, 1)} IN ('+', '-')" for place in (9, 6, 5, 3)]
    zero = ""
    if times.zone == UTC_ZONE:
        zero = (
            f" AND {at_the_end(6)} NOT IN ('+00:00', '-00:00') "
            f"AND {at_the_end(5)} NOT IN ('+0000', '-0000') "
            f"AND {at_the_end(3)} NOT IN ('+00', '-00')"
        )
    else:
        has.append(f"{at_the_end(1)} IN ('Z', 'z')")
    # Nearly all times are like this, which leaves no room for one: a third of the CPU.
    ends = f"SUBSTR({times.column}, 17, 1) = ':' AND SUBSTR({times.column}, 20)"
    usual = f"{ends} IN ('', '.000000')"
    # An offset is less than a day.
    first, end = since - timedelta(days=1), until + timedelta(days=1)
    return (
        f"{times.column} >= '{first}' AND {times.column} < '{end}' "
        f"AND LENGTH({times.column}) > 13 AND NOT ({usual}) AND ({' OR '.join(has)}){zero}"
    )


def has_offset(text: str, zone: ZoneInfo) -> bool:
    """Whether text has an offset that days of a zone are not found by."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return False
    return bool(time.utcoffset()) if zone == UTC_ZONE else time.tzinfo is not None


def refuse_offset(table: SourceTable, text: str) -> NoReturn:
    time = read_time(text)
    instead = f", such as '{time.astimezone(table.zone):%Y-%m-%d %H:%M:%S}'" if time else ""
    of = "" if table.source else " of readings"
    raise DataError(
        f"The column {table.time.name!r}{of} holds {text[:60]!r}, with an offset from UTC. "
        "Readings of a day are found by the text of their times: expected "
        f"{table.zone.key}{instead}. A run with --query reads offsets."
    )
