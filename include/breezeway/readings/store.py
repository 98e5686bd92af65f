"""Raw readings: appended once, read by one SELECT that cannot write, in constant memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from breezeway.contract.contract import Contract, load_contract
from breezeway.contract.parser import MAX_PAYLOAD_BYTES
from breezeway.core.days import UTC_ZONE
from breezeway.core.errors import UsageError
from breezeway.core.settings import QUERY_SECONDS, Settings
from breezeway.readings import source_mistakes, sql_tables
from breezeway.readings.arrow import (
    ID,
    ReadTimes,
    as_readings,
    as_text,
    label_rows,
    readings_table,
)
from breezeway.readings.columns import Block, TimeType
from breezeway.readings.database import Database
from breezeway.readings.query import check_query, dialect_of
from breezeway.readings.source import SourceTable
from breezeway.readings.source_payloads import payloads
from breezeway.readings.source_times import reader_of
from breezeway.readings.stretches import Calendar, Times

CHUNK_BYTES = 64 << 20
"""A chunk is passed on when it reaches this size, even with few rows."""


class Reading(NamedTuple):
    """A reading of a device at a time (UTC); None if the store has no time there.

    The reading with the greater `id` arrived later; None if the store does not say.
    """

    time: datetime | None
    payload: str | None
    label: int | None
    id: int | None = None


def open_store(settings: Settings) -> "RawStore":
    """The readings of the contract of these settings, wherever they are.

    Raises:
        UsageError: the contract says that they are in the user's database, and none is named.
        DataError: the contract cannot be read.
    """
    contract = load_contract(settings.sensors)
    if contract.source and settings.raw_url is None:
        raise UsageError(
            f"{settings.sensors.name}: [source] names readings in a database of your own, but "
            "BREEZEWAY_RAW_URL does not say which: set it."
        )
    return RawStore(settings.raw_address, settings.query_seconds, contract)


class RawStore(Database):
    """The table of readings, or what the section `[source]` of a contract names.

    Args:
        address, query_seconds: as for `Database`.
        contract: where readings are; None for the table `readings`.

    Example:
        >>> store = RawStore("sqlite:////tmp/readings.db")  # doctest: +SKIP
        >>> for chunk in store.stream("SELECT * FROM readings"):  # doctest: +SKIP
        ...     print(chunk.num_rows)
    """

    tables = written = (sql_tables.readings, sql_tables.labels, sql_tables.loads)

    def __init__(
        self,
        address: str,
        query_seconds: float = QUERY_SECONDS,
        contract: Contract | None = None,
    ):
        super().__init__(address, query_seconds)
        dialect = dialect_of(address)
        self._contract = contract
        self._table = SourceTable.of(contract, dialect) if contract else SourceTable(None, dialect)
        self._read_times = reader_of(self._table.zone, self._table.per_second)
        source = self._table.source
        if source and source.query:
            try:
                check_query(source.query, address)
            except UsageError as error:
                raise UsageError(str(error).replace("--query", "source.query", 1)) from None

    def loads(self) -> dict[str, str]:
        """The loads: SHA-256 of the content → where it came from."""
        loads = sql_tables.loads.c
        with self._transaction() as connection:
            rows = connection.execute(sa.select(loads.content, loads.source))
            return {row.content: row.source for row in rows}

    def has_readings(self) -> bool:
        """Whether there is any reading.

        Raises:
            BreezewayError: the store is away, or has no readings table.
        """
        return bool(self._ask_rows("SELECT 1", "LIMIT 1"))

    def append(
        self,
        readings: pa.Table | Iterable[pa.Table],
        source_hash: str | None = None,
        *,
        source: str = "",
        labels: pa.Table | None = None,
    ) -> int:
        """Append readings in one transaction: all of them or none.

        Args:
            readings: columns device, time (UTC without a zone), payload and optionally label; a
                large load comes as an iterable of such tables.
            source_hash: SHA-256 of the content. Content that was appended with this hash is not
                appended again.
            source: where the content came from, for people.
            labels: fault intervals of the same load, as for `LabelStore.append`.

        Returns:
            Number of rows appended; 0 if the content was there already.

        Raises:
            DataError: a column is missing, or a value does not fit.
            ServiceUnavailable: the store does not answer.
            TryAgain: another writer held the store for too long.
        """
        tables = [readings] if isinstance(readings, pa.Table) else readings
        count = 0
        with self._transaction() as connection:
            if source_hash and not _note_load(connection, source_hash, source):
                return 0
            for table in tables:
                count += self._insert(connection, "readings", as_readings(table))
            if labels is not None:
                self._insert(connection, "labels", label_rows(labels))
        return count

    def count_by_day(self, first: date, last: date, zone: ZoneInfo) -> dict[date, int]:
        """How many readings each day of a range has; days without any are left out.

        Raises:
            DataError: the store has other times than days can be found by: numbers, or text with
                an offset from UTC in this range.
            BreezewayError: the store is away, or has no readings table.
        """
        groups = self.times.groups(first, last, zone)
        self._expect_times(first, last, zone)
        rows = self._ask_rows(
            f"SELECT {groups.columns}, COUNT(*)",
            f"WHERE {groups.condition} GROUP BY {groups.columns}",
        )
        counts: Counter[date] = Counter()
        for *group, count in rows:
            day = groups.day_of(group)
            if day and first <= day <= last:
                counts[day] += count
        if not counts and self._table.source:
            with self._judged():
                source_mistakes.expect_times(self._engine, self._table)
        return dict(sorted(counts.items()))

    def _ask_rows(self, select: str, rest: str) -> list[tuple[Any, ...]]:
        """A small result of a query of the readings: what stands before FROM, and behind."""
        return self._ask(f"{select} FROM {self._there.rows} {rest}")

    @cached_property
    def _there(self) -> SourceTable:
        """Where the readings are, which was made sure of."""
        if self._table.source:
            with self._judged():
                source_mistakes.expect_columns(self._engine, self._sql, self._table)
        return self._table

    @cached_property
    def times(self) -> Times:
        """The column of times, and its conditions.

        Raises:
            UsageError: it is not there.
            DataError: it holds neither times nor text, or no numbers, as is expected of it.
        """
        times = self._there.times
        if self._table.zone == UTC_ZONE or self._type_of_times(date.max, date.max) != "utc":
            return times
        return Calendar(times.column)  # they have a zone

    @property
    def _read_asked(self) -> ReadTimes:
        """Reads times of a small question: there one with a zone is one of UTC that has none."""
        zone = self.times.zone if isinstance(self.times, Calendar) else UTC_ZONE
        return reader_of(zone, self._table.per_second)

    def _type_of_times(self, since: date, until: date) -> TimeType:
        with self._judged():
            return self._engine.type_of_times(self._there, (since, until))

    def _expect_times(self, first: date, last: date, zone: ZoneInfo) -> None:
        """Make sure that the times there can be compared with days."""
        if not isinstance(self.times, Calendar):
            self._type_of_times(first, last)
            return
        since, until = self.times.dates_of(first, last, zone)
        until += timedelta(days=1)
        if self._type_of_times(since, until) == "text":
            condition = source_mistakes.condition_of_offset(self.times, since, until)
            found = self._ask_rows(f"SELECT {self.times.column}", f"WHERE {condition} LIMIT 1")
            for (text,) in found:
                source_mistakes.refuse_offset(self._table, text)

    def devices_of(self, day: date, zone: ZoneInfo) -> list[str]:
        """The names of the devices that have readings on a day, in order."""
        condition = self.times.of_days(day, day, zone)
        if self._table.device is None:
            found = self._ask_rows("SELECT 1", f"WHERE {condition} LIMIT 1")
            return [self._table.fixed_device] if found else []
        device = self._engine.exact.format(self._table.device)
        rows = self._ask_rows(f"SELECT DISTINCT {device}", f"WHERE {condition}")
        return sorted(name.decode() if isinstance(name, bytes) else str(name) for (name,) in rows)

    def has_device(self, device: str) -> bool:
        """Whether a device has any reading."""
        same = self._of_device(device)
        return same is not None and bool(self._ask_rows("SELECT 1", f"WHERE {same} LIMIT 1"))

    def _of_device(self, device: str) -> str | None:
        """The condition of a device's readings; None if it has none."""
        column, name = self._table.device, self._table.literal(device)
        if column is None:
            return "1 = 1" if device == self._table.fixed_device else None
        # The first condition uses the index, the second is exact.
        return f"{column} = {name} AND {self._engine.exact.format(column)} = {name}"

    def devices_ahead(self, moment: datetime) -> dict[str, tuple[int, datetime]]:
        """Devices with readings dated from a moment on: how many, and the latest time.

        Raises:
            BreezewayError: the store is away, or has no readings table.
        """
        time, device = self.times.column, self._table.device
        name_of_each, of_each = (f", {device}", f" GROUP BY {device}") if device else ("", "")
        rows = self._ask_rows(
            f"SELECT COUNT(*), MAX({time}){name_of_each}",
            f"WHERE {self.times.since(moment)} AND {self.times.readable}{of_each}",
        )
        found = {}
        for count, latest, *name in rows:
            times, _ = self._read_asked(pa.array([_octets(latest)], pa.binary()))
            # Preprocessing names a time that cannot be read.
            if count and times[0].is_valid:
                found[str(name[0]) if name else self._table.fixed_device] = count, times[0].as_py()
        return found

    @cached_property
    def has_ids(self) -> bool:
        """Whether the table of readings has a column `id` of whole numbers.

        Raises:
            BreezewayError: the store is away, or has no readings table.
        """
        with self._judged(), self._sql.connect() as connection:
            columns = sa.inspect(connection).get_columns("readings")
        types = [column["type"] for column in columns if column["name"].lower() == "id"]
        return any(isinstance(kind, sa.Integer) for kind in types)

    def newest(self) -> tuple[str, datetime] | None:
        """Device and time of the newest reading; None if there is none whose time can be read."""
        query = (
            f"{self._select(None)} WHERE {self.times.readable} "
            f"ORDER BY {self.times.column} DESC LIMIT 1"
        )
        for block in self._blocks(query, self._table.columns(None, with_ids=False)):
            (row,) = self._readings(block).to_pylist()
            return (row["device"], row["time"]) if row["time"] else None
        return None

    def last_readings(
        self, device: str, before: datetime, count: int, label: str | None = None
    ) -> list[Reading]:
        """A device's last readings before a moment, newest first; a payload that is longer than a
        contract allows is null.

        Args:
            device: its name.
            before: the moment.
            count: the most readings to return.
            label: the column of the label; None: the label is null.
        """
        same = self._of_device(device)
        if same is None:
            return []
        rest = (
            f"WHERE {same} AND {self.times.before(before)} "
            f"ORDER BY {self.times.column} DESC LIMIT {count:d}"
        )
        return self._some(rest, label)

    def first_readings(
        self,
        device: str,
        since: datetime | None,
        before: datetime,
        count: int,
        label: str | None = None,
    ) -> list[Reading]:
        """A device's first readings from one moment up to another, oldest first; else as
        `last_readings`.

        Args:
            since: None: from the device's first one.
        """
        same = self._of_device(device)
        if same is None:
            return []
        begin = f" AND {self.times.since(since)}" if since else ""
        rest = (
            f"WHERE {same} AND {self.times.before(before)}{begin} "
            f"ORDER BY {self.times.column} ASC LIMIT {count:d}"
        )
        return self._some(rest, label)

    def _some(self, rest: str, label: str | None) -> list[Reading]:
        """The readings of a query: what stands behind FROM."""
        if not self._table.has_fields:
            return self._last_asked(rest, label)
        rows: list[Reading] = []
        columns = self._table.columns(label, with_ids=True)
        for block in self._blocks(f"{self._select(label)} {rest}", columns):
            self._refuse_any_offset(block[columns.index(self._table.time)])
            table = self._readings(block)
            if ID.name not in table.column_names:
                table = table.append_column(ID, pa.nulls(len(table), ID.type))
            rows += map(Reading, *(table[name].to_pylist() for name in Reading._fields))
        return rows

    def _last_asked(self, rest: str, label: str | None) -> list[Reading]:
        """The same, as a small question: a large one takes PostgreSQL's driver longer to begin."""
        text, table = self._engine.text.format, self._there
        payload = text(table.payload[0])
        short = f"CASE WHEN LENGTH({payload}) <= {MAX_PAYLOAD_BYTES} THEN {payload} END"
        others = table.label_and_id(label, has_ids=table.source is None and self.has_ids)
        found = self._ask_rows(f"SELECT {text(table.times.column)}, {short}, {others}", rest)
        times = pa.array([_octets(time) for time, *_ in found], pa.binary())
        self._refuse_any_offset(times)
        payloads = as_text(pa.array([_octets(payload) for _, payload, *_ in found], pa.binary()))
        read, _ = self._read_asked(times)
        labels = [_label_of(label) for _, _, label, _ in found]
        ids = [id for *_, id in found]
        return list(map(Reading, read.to_pylist(), payloads.to_pylist(), labels, ids))

    def _refuse_any_offset(self, times: pa.Array) -> None:
        if isinstance(self.times, Calendar) and not pa.types.is_timestamp(times.type):
            for text in as_text(times).to_pylist():
                if text and source_mistakes.has_offset(text, self.times.zone):
                    source_mistakes.refuse_offset(self._table, text)

    def query_of_days(self, first: date, last: date, zone: ZoneInfo, label: str | None) -> str:
        """The SELECT of all readings from a first to a last day, both included."""
        return f"{self._select(label)} WHERE {self.times.of_days(first, last, zone)}"

    def query_since(self, moment: datetime) -> str:
        """The SELECT of all readings from a moment on, without labels."""
        return f"{self._select(None)} WHERE {self.times.since(moment)} AND {self.times.readable}"

    def _select(self, label: str | None) -> str:
        return self._table.select(label, has_ids=self._there.source is None and self.has_ids)

    def stream(
        self,
        query: str,
        chunk_rows: int = 32_768,
        label: str | None = None,
        *,
        with_ids: bool = False,
    ) -> Iterator[pa.Table]:
        """Read the result of one SELECT, chunk by chunk, in its order.

        About two chunks are in memory at a time, for any number of rows. The engine refuses
        every write.

        Args:
            query: one SELECT with the columns device, time and payload, or those that the contract
                names for them; others are left out. `source` stands for what it names.
            chunk_rows: rows of a chunk; the last one has fewer, and so has one that reaches
                64 MiB.
            label: the column of the label, which must be there. None: a column `label` is used
                if there is one.
            with_ids: whether tables have the column `ID` too, if the query gives one column `id`
                of whole numbers.

        Yields:
            Tables with the schema `READINGS`, with at least one row each; nothing if no row is
            found. Label is null if the query has none. Device, time and payload are null where
            they are null in the store. Time is also null where the store has no time there; such
            a table has the further column `UNREADABLE`.

        Raises:
            UsageError: the query is not one SELECT, or the store cannot run it.
            DataError: a column is missing or has a wrong type.
            ServiceUnavailable: the store does not answer, or fails before the end.
        """
        if chunk_rows < 1:
            raise UsageError(f"chunk_rows: expected at least 1, got {chunk_rows}.")
        query = self._there.of_query(check_query(query, self._url.drivername), label)
        columns = self._table.columns(label, with_ids=with_ids)
        return _chunks(map(self._readings, self._blocks(query, columns)), chunk_rows)

    def _readings(self, block: Block) -> pa.Table:
        """Readings, from the columns that the table of the source has."""
        if self._table.device is None:
            whole = pa.array(np.zeros(len(block[0]), np.int64))
            block = [pa.array([self._table.fixed_device]).take(whole), *block]
        if self._contract and self._table.has_fields:
            fields = self._contract.fields
            end = 2 + len(fields)
            block = [
                *block[:2],
                payloads(self._contract.payload, fields, block[2:end]),
                *block[end:],
            ]
        return readings_table(block, self._read_times)


def _octets(value: Any) -> bytes | None:
    """What a driver made of a value, as text."""
    return value if value is None or isinstance(value, bytes) else str(value).encode()


def _label_of(value: Any) -> Any:
    """A label; bits come as bytes or as text."""
    if isinstance(value, bytes):
        return int.from_bytes(value)
    return int(value) if value in (0, 1, "0", "1") else value


def _chunks(tables: Iterable[pa.Table], chunk_rows: int) -> Iterator[pa.Table]:
    """Split a sequence of tables into chunks: each but the last has `chunk_rows` rows, or fewer if
    it reaches `CHUNK_BYTES`."""
    parts: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        parts.append(table)
        rows += table.num_rows
        size += table.nbytes
        while rows >= chunk_rows or size >= CHUNK_BYTES:
            whole = pa.concat_tables(parts, promote_options="default")
            yield whole.slice(0, chunk_rows)
            rest = whole.slice(chunk_rows)
            rows, size = rest.num_rows, rest.nbytes
            parts = [rest] if rows else []
            del whole
    if rows:
        yield pa.concat_tables(parts, promote_options="default")


def _note_load(connection: sa.Connection, content: str, source: str) -> bool:
    """Record a load; False if it is recorded already. The same load of another process waits."""
    entry = {
        "content": content,
        "source": source[:255],
        "loaded_at": datetime.now(UTC).replace(tzinfo=None),
    }
    try:
        connection.execute(sa.insert(sql_tables.loads), entry)
    except sa.exc.IntegrityError:
        return False
    return True
