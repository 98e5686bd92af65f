"""The readings of rows whose payloads hold several, or their own time and device."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.contract import Contract
from breezeway.contract.splitting import PayloadSplitter, Sent, hint_of_unit
from breezeway.contract.time_formats import EXCEL, ISO, unit_of
from breezeway.contract.values import Violation
from breezeway.core.days import day_of
from breezeway.readings.arrow import ID, READINGS, TIME, UNREADABLE
from breezeway.readings.columns import EXPECTED

OTHER_DAY = "is not of its row's day"
OTHER_DEVICE = "is not its row's device"
_INSTEAD = "expected so where days are made; load such payloads by load-readings, or use --query"

PIECE_BYTES = 16 << 20
"""Letters of the payloads of a table; the last payload may add what `PayloadSplitter` allows."""
_AS_IT_IS = Sent("")
"""Stands for a payload that cannot be split."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_COLUMNS = [*READINGS.names, UNREADABLE.name, ID.name]


def wrong_time(text: str, contract: Contract) -> str:
    """What is wrong with the time of a row that cannot be read."""
    source = contract.source
    if source is None or source.time_format == ISO:
        return f"{text!r}, expected {EXPECTED['time']}"
    hint = hint_of_unit(text, "source.time_format")
    if unit_of(text) == EXCEL:
        hint = " (days of Excel? Make a time of them in source.query)"
    return f"{text!r}, expected a time as {source.time_format!r}{hint}"


class SplitRows:
    """Rows in chunks, with a row for each reading of their payloads.

    A payload that cannot be split stays a row, and is found by the check of the contract.

    Args:
        chunks: tables of device, time, payload and label; as for `preprocessing.staging.stage`.
        contract: says where readings stand.
        splitter: of the contract.
        since: if given, readings before it only fill windows; and a reading has to be of the
            device and of the day of its row, because rows are found by these.

    Attributes:
        payloads: how many rows were given so far, without those before `since`.
    """

    def __init__(
        self,
        chunks: Iterable[pa.Table],
        contract: Contract,
        splitter: PayloadSplitter,
        since: datetime | None,
    ):
        self._chunks, self._contract, self._splitter = chunks, contract, splitter
        self._since = since
        self.payloads = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for chunk in self._chunks:
            if self._since:
                early = pc.less(chunk["time"], pa.scalar(self._since, READINGS.field("time").type))
                self.payloads -= pc.sum(early).as_py() or 0
            self.payloads += len(chunk)
            yield from self.split(chunk)

    def split(self, chunk: pa.Table) -> Iterator[pa.Table]:
        """The readings of some rows; what is wrong with a time is in the column `UNREADABLE`.

        Yields:
            At least one table, each with payloads of about `PIECE_BYTES`.
        """
        for column in (READINGS.field("label"), UNREADABLE, ID):
            if column.name not in chunk.column_names:
                chunk = chunk.append_column(column, pa.nulls(len(chunk), column.type))
        rows: list[int] = []
        several: list[Sent] = []
        size = 0
        for row, payload in enumerate(chunk["payload"].to_pylist()):
            try:
                found = self._splitter.split(payload)
            except Violation:
                found = [_AS_IT_IS]
            rows += [row] * len(found)
            several += found
            size += sum(len(sent.payload) for sent in found)
            if size >= PIECE_BYTES:
                yield self._table(chunk, rows, several)
                rows, several, size = [], [], 0
        if rows or not len(chunk):
            yield self._table(chunk, rows, several)

    def _table(self, chunk: pa.Table, rows: list[int], several: list[Sent]) -> pa.Table:
        """Readings, and in which row each was sent."""
        is_sent = pa.array([sent is not _AS_IT_IS for sent in several], pa.bool_())
        whole = chunk.take(pa.array(rows, pa.int64()))
        columns = {name: whole[name].combine_chunks() for name in _COLUMNS}
        if columns[UNREADABLE.name].null_count < len(rows):
            wrong = [
                None if text is None else wrong_time(text, self._contract)
                for text in columns[UNREADABLE.name].to_pylist()
            ]
            columns[UNREADABLE.name] = pa.array(wrong, pa.string())
        own = {"payload": pa.array([sent.payload for sent in several], pa.string())}
        if self._contract.payload.device_path:
            own["device"] = pa.array([sent.device for sent in several], pa.string())
        if self._contract.payload.time_path:
            own["time"] = pa.array(map(_microseconds, several), pa.int64()).cast(TIME)
            own[UNREADABLE.name] = pa.array([sent.wrong_time for sent in several], pa.string())
        columns |= {n: pc.if_else(is_sent, column, columns[n]) for n, column in own.items()}
        table = pa.table(columns)
        return self._of_their_rows(table, whole) if self._since else table

    def _of_their_rows(self, table: pa.Table, rows: pa.Table) -> pa.Table:
        """Without the times of readings that are not found by their row's device and day."""
        columns = (table["device"], rows["device"], table["time"], rows["time"])
        same = pc.and_(*(pc.equal(*columns[n : n + 2]).fill_null(False) for n in (0, 2)))
        places = np.flatnonzero(~same.to_numpy()).tolist()
        if not places and table[UNREADABLE.name].null_count == len(table):
            return table
        zone, wrong = self._contract.zone, table[UNREADABLE.name].to_pylist()
        for place in places:
            device, of_row, own, time = (column[place].as_py() for column in columns)
            if device != of_row:
                wrong[place] = f"{str(device)[:80]!r} {OTHER_DEVICE}, {_INSTEAD}"
            elif own and time and day_of(own, zone) != day_of(time, zone):
                wrong[place] = f"{own:%Y-%m-%dT%H:%M:%SZ} {OTHER_DAY}, {_INSTEAD}"
        unreadable = pa.array(wrong, pa.string())
        is_wrong = unreadable.is_valid()
        for name, instead in (("device", rows["device"]), ("time", pa.scalar(None, TIME))):
            column = pc.if_else(is_wrong, instead, table[name])
            table = table.set_column(table.column_names.index(name), name, column)
        return table.set_column(table.column_names.index(UNREADABLE.name), UNREADABLE, unreadable)


def _microseconds(sent: Sent) -> int | None:
    return (sent.time - _EPOCH) // _MICROSECOND if sent.time else None
