"""The readings of rows whose payloads hold several, or their own time and device."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from breezeway.contract.contract import Contract
from breezeway.contract.splitting import PayloadSplitter, Sent
from breezeway.contract.values import Violation
from breezeway.core.days import day_of
from breezeway.readings.arrow import ID, READINGS, UNREADABLE
from breezeway.readings.columns import EXPECTED

OTHER_DAY = "is not of its row's day"
OTHER_DEVICE = "is not its row's device"
_INSTEAD = "expected so where days are made; load such payloads by load-readings, or use --query"


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
            rows: list[dict[str, Any]] = []
            for row in chunk.to_pylist():
                if not (self._since and row["time"] and row["time"] < self._since):
                    self.payloads += 1
                rows += self.readings_of(row)
            yield pa.Table.from_pylist(rows, READINGS.append(UNREADABLE).append(ID))

    def readings_of(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The readings of a row; what is wrong with a time is in the column `UNREADABLE`."""
        if text := row.get(UNREADABLE.name):
            row = row | {UNREADABLE.name: f"{text!r}, expected {EXPECTED['time']}"}
        try:
            several = self._splitter.split(row["payload"])
        except Violation:
            yield row
            return
        for sent in several:
            yield self._reading(row, sent)

    def _reading(self, row: dict[str, Any], sent: Sent) -> dict[str, Any]:
        rules = self._contract.payload
        reading = row | {"payload": sent.payload}
        if rules.device_path:
            reading["device"] = sent.device
        if rules.time_path:
            reading |= {"time": sent.time, UNREADABLE.name: sent.wrong_time}
        if self._since and (wrong := _elsewhere(row, reading, self._contract.zone)):
            reading |= {"device": row["device"], "time": None, UNREADABLE.name: wrong}
        return reading


def _elsewhere(row: dict[str, Any], reading: dict[str, Any], zone: ZoneInfo) -> str | None:
    """What is wrong with a reading that is not found by its row's device and day."""
    if reading["device"] != row["device"]:
        return f"{str(reading['device'])[:80]!r} {OTHER_DEVICE}, {_INSTEAD}"
    if reading["time"] and row["time"]:
        of_row, own = (day_of(each["time"], zone) for each in (row, reading))
        if of_row != own:
            return f"{reading['time']:%Y-%m-%dT%H:%M:%SZ} {OTHER_DAY}, {_INSTEAD}"
    return None
