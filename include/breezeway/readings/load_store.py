"""Loads: readings of files, each of them once, and how a load is taken back.

A reading is the same if device, time, payload and label are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from typing import Any, NamedTuple

import pyarrow as pa
import sqlalchemy as sa

from breezeway.core.errors import DataError, UsageError
from breezeway.readings import sql_tables
from breezeway.readings.arrow import as_readings, time_texts
from breezeway.readings.database import Database
from breezeway.readings.load_indexes import LateIndexes

BATCH_ROWS = 500
BATCH_BYTES = 8 << 20
"""Readings are looked for in the store until either is reached; bytes as if all were as long as
the longest."""
BATCH_DEVICES = 50
"""Of so many devices at once the store is asked whether it has readings in their time; of a batch
of more devices, each reading is looked for."""
ROWS_A_DEVICE = 4
"""A table with fewer is looked for reading by reading."""
SHOWN_LETTERS = 60
ID_LETTERS = 12
"""Of a load's content, they are enough to name it."""

WIDTH = 5
"""Values of a row that is inserted."""
COLUMNS = "id, device, time, payload, label, load_id"


class Row(NamedTuple):
    """A reading of a file; the time is text as the store has it."""

    device: str
    time: str
    payload: str | None
    label: int | None


class Stored(NamedTuple):
    """A reading of the store; `size` tells a payload that is longer than all that are looked for
    from a null."""

    id: int
    load_id: int | None
    payload: str | None
    label: int | None
    size: int | None

    def has(self, row: Row) -> bool:
        same = (self.payload, self.label) == (row.payload, row.label)
        return same and (self.size is None) == (row.payload is None)


@dataclass
class Counts:
    """What became of the readings of a file.

    Attributes:
        new: those that the store has now.
        known: those that it had, or that the file has twice.
        replaced: readings of the store that others took the place of.
    """

    new: int = 0
    known: int = 0
    replaced: int = 0


class LoadStore(Database):
    """The readings of a raw store with the loads that brought them."""

    written = (
        sql_tables.readings,
        sql_tables.loads,
        sql_tables.shared_readings,
        sql_tables.replaced_readings,
    )
    tables = (*written, sql_tables.labels)

    def loads(self) -> list[dict[str, Any]]:
        """The loads of files, in order: `load`, `source`, `loaded_at` and how many `readings`."""
        loads = sql_tables.loads.c
        query = sa.select(loads.content, loads.source, loads.loaded_at, loads.readings)
        with self._transaction() as connection:
            if not sql_tables.is_whole(connection, sql_tables.loads):
                return []
            rows = connection.execute(query.where(loads.id.is_not(None)).order_by(loads.id)).all()
        return [
            {
                "load": content[:ID_LETTERS],
                "source": source,
                "loaded_at": loaded_at.isoformat(sep=" ", timespec="seconds"),
                "readings": readings,
            }
            for content, source, loaded_at, readings in rows
        ]

    def load(
        self, tables: Iterable[pa.Table], content: str, source: str, *, replace: bool = False
    ) -> Counts | None:
        """Load the readings of a file in one transaction: all of them or none.

        A reading that the store has is not inserted again.

        Args:
            tables: columns device, time (UTC without a zone), payload and label.
            content: a digest of the readings, as 64 hexadecimal digits.
            source: where they came from, for people.
            replace: whether readings take the place of others of the same device and time. If
                tables have several such readings, the last one does.

        Returns:
            None if a load with this content is there.

        Raises:
            DataError: a reading has another content in the store, or two in the tables, and they
                are not to be replaced; or a column is missing, or a value does not fit.
            ServiceUnavailable: the store does not answer.
            TryAgain: another writer held the store for too long.
        """
        loads = sql_tables.loads
        with self._alone() as connection:
            known = sa.select(loads.c.id).where(loads.c.content == content)
            if connection.execute(known).first():
                return None
            number = _next_number(connection)
            merge = _Merge(self, connection, number, source, replace)
            for table in tables:
                merge.add(as_readings(table))
            merge.indexes.make()
            entry = {
                "content": content,
                "source": source[-255:],
                "loaded_at": datetime.now(UTC).replace(tzinfo=None),
                "id": number,
                "readings": merge.counts.new + merge.counts.known,
            }
            connection.execute(sa.insert(loads), entry)
        return merge.counts

    def count_replaced(self, content: str) -> int:
        """How many readings of a load have been replaced by later ones."""
        loads, replaced = sql_tables.loads.c, sql_tables.replaced_readings.c
        query = sa.select(sa.func.count()).where(
            loads.content == content, replaced.load_id == loads.id
        )
        with self._transaction() as connection:
            return connection.execute(query).scalar_one()

    def take_back(self, load: str) -> dict[str, Any]:
        """Leave the store as if a load had not been.

        Readings that another load has too stay, and those that it replaced are there again.

        Args:
            load: the first digits of its content, eight or more.

        Returns:
            The `load`, its `source`, and how many readings were `removed` and `restored`.

        Raises:
            UsageError: there is no such load, or there are several.
            ServiceUnavailable: the store does not answer.
            TryAgain: another writer held the store for too long.
        """
        with self._alone() as connection:
            content, source, number = _find_load(connection, load)
            loads, shared = sql_tables.loads.c, sql_tables.shared_readings.c
            connection.execute(
                sa.delete(sql_tables.shared_readings).where(shared.load_id == number)
            )
            for table in (sql_tables.readings, sql_tables.replaced_readings):
                _hand_over(connection, table, number)
            replaced = sql_tables.replaced_readings
            connection.execute(sa.delete(replaced).where(replaced.c.load_id == number))
            restored = self._restore(connection, number)
            readings = sql_tables.readings
            removed = connection.execute(sa.delete(readings).where(readings.c.load_id == number))
            connection.execute(sa.delete(sql_tables.loads).where(loads.content == content))
        return {
            "load": content[:ID_LETTERS],
            "source": source,
            "removed": removed.rowcount,
            "restored": restored,
        }

    def _restore(self, connection: sa.Connection, number: int) -> int:
        """Put back what only a load that is being taken back stands in the place of."""

        def same(other: str) -> str:
            one, two = (self._engine.exact.format(f"{t}.device") for t in ("old", other))
            # By the ids, which always differ, MariaDB tells apart devices that differ by case only:
            # it remembers the answer to a subquery by the columns that the subquery names.
            return (
                f"{other}.device = old.device AND {one} = {two} AND {other}.time = old.time "
                f"AND {other}.id <> old.id"
            )

        restored = connection.exec_driver_sql(
            f"INSERT INTO readings ({COLUMNS}) SELECT {COLUMNS} FROM replaced_readings old WHERE "
            f"EXISTS (SELECT 1 FROM readings gone WHERE {same('gone')} "
            f"AND gone.load_id = {number:d}) "
            f"AND NOT EXISTS (SELECT 1 FROM readings stays WHERE {same('stays')} "
            f"AND (stays.load_id IS NULL OR stays.load_id <> {number:d})) "
            f"AND NOT EXISTS (SELECT 1 FROM replaced_readings later WHERE {same('later')} "
            "AND later.replaced_by > old.replaced_by)"
        )
        connection.exec_driver_sql(
            "DELETE FROM replaced_readings WHERE EXISTS "
            "(SELECT 1 FROM readings WHERE readings.id = replaced_readings.id)"
        )
        return restored.rowcount


class _Merge:
    """One load on its way into the store."""

    def __init__(
        self, store: LoadStore, connection: sa.Connection, number: int, source: str, replace: bool
    ):
        self.counts = Counts()
        self.indexes = LateIndexes(connection, store._engine.late_indexes)
        self._connection = connection
        self._number = number
        self._source = source
        self._replace = replace
        mark = store._engine.mark
        by_index = store._engine.by_index.format("readings_device_time")
        self._same = f"(device = {mark} AND time = {mark})"
        self._between = f"(device = {mark} AND time BETWEEN {mark} AND {mark})"
        self._any = f"SELECT 1 FROM readings {by_index} WHERE {{}} LIMIT 1"
        self._find = (
            f"SELECT id, load_id, device, {store._engine.whole_time.format('time')}, label, "
            "LENGTH(payload), CASE WHEN LENGTH(payload) <= {} THEN payload END "
            f"FROM readings {by_index} WHERE "
        )
        self._insert = "INSERT INTO readings (device, time, payload, label, load_id) VALUES "
        self._marks = f"({', '.join([mark] * WIDTH)})"
        self._at_once = store._engine.rows_a_statement

    def add(self, table: pa.Table) -> None:
        columns = _columns(table)
        if self._is_new(table):
            self.counts.new += len(table)
            self._put(columns)
        else:
            self.indexes.make()
            for batch in _batches(map(Row, *columns)):
                self._add(batch)

    def _is_new(self, table: pa.Table) -> bool:
        """Whether no two readings have the same device and time, and the store has nothing in the
        time of each device: then there is nothing to compare, as in most of a new file."""
        keys = table.group_by(["device", "time"]).aggregate([])
        if not len(table) or len(keys) < len(table):
            return False
        bounds = table.group_by("device").aggregate([("time", "min"), ("time", "max")])
        names = bounds["device"].to_pylist()
        ends = zip(*(_texts(bounds[f"time_{end}"]) for end in ("min", "max")), strict=True)
        spans = dict(zip(names, ends, strict=True))
        if self.indexes.wait:
            return self.indexes.are_later(spans)
        return len(spans) * ROWS_A_DEVICE <= len(table) and all(
            self._are_beyond(dict(some)) for some in batched(spans.items(), BATCH_DEVICES)
        )

    def _put(self, columns: Iterable[Sequence[Any]]) -> None:
        """Insert rows, as many by a statement as the engine takes."""
        devices, *others = columns
        values = [self._number] * (WIDTH * len(devices))
        for place, column in enumerate((devices, *others)):
            values[place::WIDTH] = column
        joined = WIDTH * (len(devices) - len(devices) % self._at_once)
        for begin, end, count in ((0, joined, self._at_once), (joined, len(values), 1)):
            step = WIDTH * count
            rows = [tuple(values[n : n + step]) for n in range(begin, end, step)]
            if rows:
                statement = self._insert + ", ".join([self._marks] * count)
                self._connection.exec_driver_sql(statement, rows)

    def _add(self, batch: list[Row]) -> None:
        stored = self._stored(batch)
        new: dict[tuple[str, str], Row] = {}
        shared: set[int] = set()
        replaced: list[Stored] = []
        for row in batch:
            key = row[:2]
            before, here = new.get(key), stored.get(key, [])
            if before == row:
                self.counts.known += 1
            elif before is None and self._is_known(row, here):
                self.counts.known += 1
                shared.update(
                    each.id
                    for each in here
                    if each.has(row) and each.load_id not in (None, self._number)
                )
            elif (before or here) and not self._replace:
                self._refuse(row, before or here[0])
            else:
                new[key] = row
                replaced += [] if before else here
        self.counts.new += len(new)
        if new:
            self._put(list(zip(*new.values(), strict=True)))
        self._put_away(replaced)
        self._share(shared)

    def _is_known(self, row: Row, here: list[Stored]) -> bool:
        """Of several contents none is right if they are to be replaced."""
        return any(each.has(row) for each in here) and not (self._replace and len(here) > 1)

    def _stored(self, batch: list[Row]) -> dict[tuple[str, str], list[Stored]]:
        """What the store has at the devices and times of some readings."""
        keys = {row[:2] for row in batch}
        spans = _spans(keys)
        if len(spans) <= BATCH_DEVICES and self._are_beyond(spans):
            return {}
        longest = max(_size(row) for row in batch)
        query = self._find.format(longest) + " OR ".join([self._same] * len(keys))
        values = tuple(value for key in keys for value in key)
        found: dict[tuple[str, str], list[Stored]] = {}
        for id, load_id, device, time, label, size, payload in self._connection.exec_driver_sql(
            query, values
        ):
            # MySQL also finds devices that differ by case.
            if (device, time) in keys:
                stored = Stored(id, load_id, payload, label, size)
                found.setdefault((device, time), []).append(stored)
        return found

    def _are_beyond(self, spans: Mapping[str, tuple[str, str]]) -> bool:
        """Whether the store has nothing of the devices between two times each: one question a
        device is answered far sooner than one a reading."""
        query = self._any.format(" OR ".join([self._between] * len(spans)))
        values = tuple(value for device, span in spans.items() for value in (device, *span))
        return self._connection.exec_driver_sql(query, values).first() is None

    def _put_away(self, readings: list[Stored]) -> None:
        """Those of this very load are rows of the file that a later row corrects."""
        own = [each.id for each in readings if each.load_id == self._number]
        others = [each.id for each in readings if each.load_id != self._number]
        self.counts.replaced += len(others)
        self.counts.new -= len(own)
        if others:
            self._connection.exec_driver_sql(
                f"INSERT INTO replaced_readings ({COLUMNS}, replaced_by) "
                f"SELECT {COLUMNS}, {self._number:d} FROM readings WHERE id IN ({_listed(others)})"
            )
        if readings:
            self._connection.exec_driver_sql(
                f"DELETE FROM readings WHERE id IN ({_listed(own + others)})"
            )

    def _share(self, ids: set[int]) -> None:
        if ids:
            self._connection.exec_driver_sql(
                f"INSERT INTO shared_readings (load_id, reading_id) SELECT {self._number:d}, id "
                f"FROM readings WHERE id IN ({_listed(ids)}) AND NOT EXISTS (SELECT 1 FROM "
                f"shared_readings WHERE load_id = {self._number:d} AND reading_id = readings.id)"
            )

    def _refuse(self, row: Row, other: Row | Stored) -> None:
        there = other.payload
        if isinstance(other, Stored) and other.size is not None and there is None:
            there = f"(a payload of {other.size})"
        one, two = _shortened(there, row.payload)
        is_stored = isinstance(other, Stored) and other.load_id != self._number
        where = "the raw store" if is_stored else "an earlier line"
        raise DataError(
            f"{self._source}: {row.device!r} at {row.time} has another content: {where} has {one} "
            f"({_label(other.label)}), this file has {two} ({_label(row.label)}). Nothing of the "
            "file was loaded. Expected the same content, or --replace, with which the last one "
            "counts."
        )


def _columns(table: pa.Table) -> list[list[Any]]:
    """The columns of rows, as lists."""
    texts = _texts(table["time"])
    others = (table[name].to_pylist() for name in ("payload", "label"))
    return [table["device"].to_pylist(), texts, *others]


def _texts(times: pa.ChunkedArray) -> list[str]:
    texts: list[str] = time_texts(times).to_pylist()
    return texts


def _spans(keys: Iterable[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """The first and the last time of each device."""
    spans: dict[str, tuple[str, str]] = {}
    for device, time in keys:
        first, last = spans.get(device, (time, time))
        spans[device] = min(first, time), max(last, time)
    return spans


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    longest = 0
    for row in rows:
        longest = max(longest, _size(row))
        if len(batch) == BATCH_ROWS or (batch and (len(batch) + 1) * longest > BATCH_BYTES):
            yield batch
            batch, longest = [], _size(row)
        batch.append(row)
    if batch:
        yield batch


def _size(row: Row) -> int:
    return len(row.payload.encode()) if row.payload else 0


def _listed(ids: Iterable[int]) -> str:
    return ", ".join(f"{id:d}" for id in ids)


def _label(label: int | None) -> str:
    return "no label" if label is None else f"label {label}"


def _shortened(one: str | None, two: str | None) -> tuple[str, str]:
    """Two payloads as a message shows them, from a little before the first difference."""
    pairs = enumerate(zip(one or "", two or "", strict=False))
    first = next((place for place, (a, b) in pairs if a != b), 0)
    start = max(0, first - SHOWN_LETTERS // 2)

    def cut(text: str | None) -> str:
        if text is None:
            return "no payload"
        part = text[start : start + SHOWN_LETTERS]
        return ("…" if start else "") + repr(part) + ("…" if start + len(part) < len(text) else "")

    return cut(one), cut(two)


def _next_number(connection: sa.Connection) -> int:
    """Greater than that of any load that the store has a trace of."""
    loads, replaced = sql_tables.loads.c.id, sql_tables.replaced_readings.c.replaced_by
    highest = [connection.execute(sa.select(sa.func.max(c))).scalar() for c in (loads, replaced)]
    return 1 + max(number or 0 for number in highest)


def _find_load(connection: sa.Connection, load: str) -> tuple[str, str, int]:
    loads = sql_tables.loads.c
    if not re.fullmatch("[0-9a-f]{8,64}", load):
        raise UsageError(
            f"--take-back: {load[:80]!r} names no load: expected what `breezeway loads` shows, "
            "such as 3f2a9c0b71de."
        )
    query = sa.select(loads.content, loads.source, loads.id).where(
        loads.id.is_not(None), loads.content.like(f"{load}%")
    )
    is_there = sql_tables.is_whole(connection, sql_tables.loads)
    found = connection.execute(query.limit(2)).all() if is_there else []
    if len(found) != 1:
        what = "several loads begin" if found else "there is no load that begins"
        raise UsageError(
            f"--take-back: {what} with {load!r}: expected one that `breezeway loads` shows."
        )
    content, source, number = found[0]
    return content, source, number


def _hand_over(connection: sa.Connection, table: sa.Table, number: int) -> None:
    """Give the readings of a load that others have too to one of those."""
    shared = sql_tables.shared_readings
    heir = sa.select(sa.func.min(shared.c.load_id)).where(shared.c.reading_id == table.c.id)
    connection.execute(
        sa.update(table)
        .where(table.c.load_id == number, table.c.id.in_(sa.select(shared.c.reading_id)))
        .values(load_id=heir.scalar_subquery())
    )
    connection.execute(
        sa.delete(shared).where(
            sa.exists().where(
                table.c.id == shared.c.reading_id, table.c.load_id == shared.c.load_id
            )
        )
    )
