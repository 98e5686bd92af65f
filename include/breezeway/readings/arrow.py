"""Readings and labels as Arrow tables: their schemas, and what is converted on the way."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from breezeway.core.errors import DataError
from breezeway.core.times import from_iso
from breezeway.readings.columns import EXPECTED, Block

TIME = pa.timestamp("us", tz="UTC")

READINGS = pa.schema(
    [
        ("device", pa.string()),
        ("time", TIME),
        ("payload", pa.string()),
        ("label", pa.int64()),
    ]
)
"""Raw readings. A label is 1 (fault), 0 (none) or null (unknown). Other values of a store are kept,
so that the check of the contract finds them."""

UNREADABLE = pa.field("unreadable_time", pa.string())
"""A further column of readings from a store: what stands there instead of a time, the first
`SHOWN_LETTERS` of it; null where `time` is a time, or null in the store."""
SHOWN_LETTERS = 60
ID = pa.field("id", pa.int64())
"""A further column of readings from a store: a reading with a greater number arrived later; null
where the store does not say."""
FIRST, LAST = (
    (time - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    for time in (datetime.min, datetime.max)
)
"""The times that Python has, in microseconds since 1970."""

NAIVE_READINGS = READINGS.set(
    READINGS.get_field_index("time"), pa.field("time", pa.timestamp("us"))
)
"""The same, with times in UTC that have no zone."""

LABELS = pa.schema(
    [
        ("device", pa.string()),
        ("start", TIME),
        ("end", TIME),
        ("labelled_by", pa.string()),
        ("labelled_at", TIME),
    ]
)
"""Fault intervals; who labelled them and when are null if they were not recorded."""

REVIEWS = pa.schema([*LABELS, ("fault", pa.bool_())])
"""Periods of readings that a person has reviewed, and whether each is a fault."""

ReadTimes = Callable[[pa.Array], tuple[pa.Array, pa.Array | None]]
"""Takes a column of times as the store has it; gives it as `TIME`, null where it cannot be read,
and what stands there instead, if anything does."""
_NOTES = ("labelled_by", "labelled_at")


# -- from a store


def readings_table(block: Block, read_times: ReadTimes | None = None) -> pa.Table:
    """Readings, from the columns device, time, payload and label; and id, if it was asked for.

    Args:
        read_times: reads a column of times; without, as times or their ISO text, in UTC.

    Returns:
        As `READINGS`; with the column `ID` too, if there is one, and with the column `UNREADABLE`,
        if a value is not a time.
    """
    device, time, payload, label, *ids = block
    labels = pa.nulls(len(device), pa.int64()) if label is None else _integer(label, "label")
    times, unreadable = (read_times or iso_times)(time)
    table = pa.table([as_text(device), times, as_text(payload), labels], schema=READINGS)
    for id in ids:
        if id is not None:
            table = table.append_column(ID, _integer(id, ID.name))
    return table if unreadable is None else table.append_column(UNREADABLE, unreadable)


def labels_table(block: Block) -> pa.Table:
    """Fault intervals, from the columns device, start_time, end_time, labelled_by, labelled_at."""
    device, start, end, who, when = block
    nobody = pa.nulls(len(device), pa.binary())
    columns = [
        as_text(device),
        _time(start, "start_time"),
        _time(end, "end_time"),
        as_text(nobody if who is None else who),
        _time(nobody if when is None else when, "labelled_at"),
    ]
    return pa.table(columns, schema=LABELS)


def parse_time(value: str, column: str) -> datetime:
    """A value as a time in UTC; text without a zone is UTC.

    Args:
        column: the column of the value, for messages.

    Raises:
        DataError: the value is not a time.
    """
    time = read_time(value)
    if time is None:
        shown = value[:SHOWN_LETTERS]
        raise DataError(f"The column {column!r} holds {shown!r}; expected {EXPECTED['time']}.")
    return time


def read_time(value: str) -> datetime | None:
    """A value as a time in UTC, as by `parse_time`; None if it is not a time."""
    try:
        return from_iso(value)
    except ValueError:
        return None


def as_text(values: pa.Array) -> pa.Array:
    """Decode; invalid UTF-8 becomes U+FFFD, which the check of the contract finds."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        decoded = [None if v is None else v.decode(errors="replace") for v in values.to_pylist()]
        return pa.array(decoded, pa.string())


def _integer(values: pa.Array, column: str) -> pa.Array:
    if pa.types.is_integer(values.type):
        return values
    try:
        return values.cast(pa.string()).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"--query: the column {column!r}: {error}.") from None


def _time(values: pa.Array, column: str) -> pa.Array:
    """A column of times, each read as by `parse_time`."""
    times, unreadable = iso_times(values)
    if unreadable is not None:
        parse_time(unreadable.drop_null()[0].as_py(), column)
    return times


def iso_times(values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """A column of times, each read as by `read_time`; and what cannot be read, if there is any."""
    if pa.types.is_timestamp(values.type):
        return values.cast(TIME), None
    text = as_text(values)
    for kind in (pa.timestamp("us"), TIME):  # either all times have a zone, or none
        try:
            times = text.cast(kind).cast(TIME)
        except pa.ArrowInvalid:
            continue
        if are_dates(times):
            return times, None
    times = [None if value is None else read_time(value) for value in text.to_pylist()]
    return with_unreadable(pa.array(times, TIME), text)


def with_unreadable(times: pa.Array, text: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Times, and the text of those that could not be read, if there are any."""
    missing = pc.and_(times.is_null(), text.is_valid())
    if not pc.any(missing).as_py():
        return times, None
    shown = pc.utf8_slice_codeunits(text, 0, SHOWN_LETTERS)
    return times, pc.if_else(missing, shown, pa.scalar(None, pa.string()))


def are_dates(times: pa.Array) -> bool:
    """Whether Python has these times: Arrow knows other years than 1 to 9999."""
    bounds = pc.min_max(times.cast(pa.int64()))
    lowest, highest = bounds["min"].as_py(), bounds["max"].as_py()
    return lowest is None or (lowest >= FIRST and highest <= LAST)


# -- to a store


def as_readings(table: pa.Table) -> pa.Table:
    """A table as `READINGS`; the label may be missing.

    Raises:
        DataError: another column is missing, or a value does not fit.
    """
    if "label" not in table.column_names:
        table = table.append_column("label", pa.nulls(table.num_rows, pa.int64()))
    return as_schema(table, READINGS, nullable=("payload", "label"))


def time_texts(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times in UTC as text that sorts like time."""
    # Arrow writes times with a zone thirty times slower.
    return times.cast(pa.timestamp("us")).cast(pa.string())


def as_labels(table: pa.Table) -> pa.Table:
    """A table as `LABELS`; who labelled and when may be missing.

    Raises:
        DataError: another column is missing, or an interval ends before it begins.
    """
    for name in _NOTES:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, LABELS.field(name).type))
    table = as_schema(table, LABELS, nullable=_NOTES)
    wrong = pc.index(pc.less(table["start"], table["end"]), False).as_py()
    if wrong >= 0:
        row = table.slice(wrong, 1).to_pylist()[0]
        raise DataError(
            f"Labels, row {wrong + 1}: the fault of {row['device']!r} that starts at "
            f"{row['start']:%Y-%m-%d %H:%M:%S} ends at {row['end']:%Y-%m-%d %H:%M:%S}; "
            "expected a later time."
        )
    return table


def label_rows(table: pa.Table) -> pa.Table:
    """Fault intervals as rows of the table `labels`.

    Raises:
        DataError: as for `as_labels`.
    """
    return as_labels(table).rename_columns({"start": "start_time", "end": "end_time"})


def as_schema(table: pa.Table, schema: pa.Schema, nullable: tuple[str, ...] = ()) -> pa.Table:
    """The columns of a schema, cast to its types.

    Raises:
        DataError: a column is missing, a value does not fit, or is null and not `nullable`.
    """
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
