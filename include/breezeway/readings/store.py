"""Raw readings: appended once, read by one SELECT that cannot write, in constant memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy as sa

from breezeway.contract.parser import MAX_PAYLOAD_BYTES
from breezeway.core.errors import DataError, UsageError
from breezeway.readings import sql_tables, stretches
from breezeway.readings.arrow import as_readings, label_rows, read_time, readings_table
from breezeway.readings.columns import Column
from breezeway.readings.database import Database
from breezeway.readings.query import check_query

LAST_TIME = "9999-12-31 23:59:59"
"""Text that is not a time mostly sorts after it."""
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


class RawStore(Database):
    """The table of readings.

    Example:
        >>> store = RawStore("sqlite:////tmp/readings.db")  # doctest: +SKIP
        >>> for chunk in store.stream("SELECT * FROM readings"):  # doctest: +SKIP
        ...     print(chunk.num_rows)
    """

    tables = written = (sql_tables.readings, sql_tables.labels, sql_tables.loads)

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
        return bool(self._ask("SELECT 1 FROM readings LIMIT 1"))

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
        groups = stretches.DayGroups(first, last, zone)
        since, until = groups.dates
        with self._judged():
            has_text = self._engine.has_text_times(since, until)
        if has_text:
            self._refuse_offsets(since, until)
        query = (
            f"SELECT {groups.columns}, COUNT(*) FROM readings "
            f"WHERE {groups.condition} GROUP BY {groups.columns}"
        )
        counts: Counter[date] = Counter()
        for *group, count in self._ask(query):
            if day := groups.day_of(group):
                counts[day] += count
        return dict(sorted(counts.items()))

    def _refuse_offsets(self, since: date, until: date) -> None:
        """Text is compared letter by letter, which is right only for times in UTC."""
        places = " OR ".join(
            f"{_letters_at_the_end(place, 1)} IN ('+', '-')" for place in (9, 6, 5, 3)
        )
        last_six, last_five, last_three = map(_letters_at_the_end, (6, 5, 3))
        query = (
            "SELECT time FROM readings WHERE time >= {0} AND time < {0} AND LENGTH(time) > 13 "
            f"AND ({places}) AND {last_six} NOT IN ('+00:00', '-00:00') "
            f"AND {last_five} NOT IN ('+0000', '-0000') "
            f"AND {last_three} NOT IN ('+00', '-00') LIMIT 1"
        )
        # An offset is less than a day.
        around = [since - timedelta(days=1), until + timedelta(days=1)]
        for (text,) in self._ask(query, *(day.isoformat() for day in around)):
            _refuse_offset(text)

    def devices_of(self, day: date, zone: ZoneInfo) -> list[str]:
        """The names of the devices that have readings on a day, in order."""
        device = self._engine.exact.format("device")
        condition = stretches.of_days(day, day, zone)
        rows = self._ask(f"SELECT DISTINCT {device} FROM readings WHERE {condition}")
        return sorted(name.decode() if isinstance(name, bytes) else str(name) for (name,) in rows)

    def devices_ahead(self, moment: datetime) -> dict[str, tuple[int, datetime]]:
        """Devices with readings dated after a moment: how many, and the latest time.

        Raises:
            BreezewayError: the store is away, or has no readings table.
        """
        query = (
            "SELECT device, COUNT(*), MAX(time) FROM readings WHERE time > {0} AND time <= {0} "
            "GROUP BY device"
        )
        after = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        rows = self._ask(query, after, LAST_TIME)
        found = {str(device): (count, read_time(str(latest))) for device, count, latest in rows}
        # Preprocessing names a time that cannot be read.
        return {name: (count, time) for name, (count, time) in found.items() if time}

    def has_ids(self) -> bool:
        """Whether the table of readings has a column `id` of whole numbers.

        Raises:
            BreezewayError: the store is away, or has no readings table.
        """
        with self._judged(), self._sql.connect() as connection:
            columns = sa.inspect(connection).get_columns("readings")
        types = [column["type"] for column in columns if column["name"].lower() == "id"]
        return any(isinstance(kind, sa.Integer) for kind in types)

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
        column = self._quoted(label) if label else "NULL"
        number = "id" if self.has_ids() else "NULL"
        # The first condition uses the index, the second is exact.
        same = f"device = {{0}} AND {self._engine.exact.format('device')} = {{0}}"
        time, payload = map(self._engine.text.format, ("time", "payload"))
        query = (
            f"SELECT {time}, "
            f"CASE WHEN LENGTH({payload}) <= {MAX_PAYLOAD_BYTES} THEN {payload} END, "
            f"{column}, {number} "
            f"FROM readings WHERE {same} AND {stretches.before(before)} "
            f"ORDER BY readings.time DESC LIMIT {count:d}"
        )
        rows = self._ask(query, device, device)
        for text, *_ in rows:
            if isinstance(text, str) and _has_offset(text):
                _refuse_offset(text)
        return [
            Reading(read_time(str(time)), payload, int(label) if label in (0, 1) else label, id)
            for time, payload, label, id in rows
        ]

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
            query: one SELECT with the columns device, time and payload; others are left out.
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
        query = check_query(query, self._url.drivername)
        columns = [
            Column("device", "device"),
            Column("time", "time"),
            Column("payload", "payload"),
            Column(label or "label", "label", required=label is not None),
        ]
        if with_ids:
            columns.append(Column("id", "id", required=False))
        return _chunks(map(readings_table, self._blocks(query, columns)), chunk_rows)


def _letters_at_the_end(place: int, count: int | None = None) -> str:
    """Letters of a time that is text, from the last but so many; not each database counts back."""
    return f"SUBSTR(time, LENGTH(time) - {place - 1}, {count or place})"


def _has_offset(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text).utcoffset())
    except ValueError:
        return False


def _refuse_offset(text: str) -> NoReturn:
    time = read_time(text)
    instead = f", such as '{time:%Y-%m-%d %H:%M:%S}'" if time else ""
    raise DataError(
        f"The column 'time' of readings holds {text[:60]!r}, with an offset from UTC. Readings of "
        f"a day are found by the text of their times: expected UTC{instead}. A run with --query "
        "reads offsets."
    )


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
