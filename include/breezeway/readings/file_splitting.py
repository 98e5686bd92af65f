"""The readings of a file's rows whose payloads hold several, or their own time and device."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from breezeway.contract.contract import Contract
from breezeway.contract.splitting import PayloadSplitter, Sent
from breezeway.contract.values import Violation
from breezeway.readings.file_mistakes import Mistake, Mistakes

OWN = "-"
"""Stands for the device of a row until that of its readings is known."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def split_rows(
    table: pa.Table,
    numbers: Sequence[int],
    file: Path,
    contract: Contract,
    splitter: PayloadSplitter,
    mistakes: Mistakes,
) -> pa.Table:
    """A row for each reading.

    A payload that cannot be split stays a row, for preprocessing to count, if the row has a device
    and a time.

    Args:
        table: rows, as by `file_rows.read_rows`.
        numbers: of its rows in the file.
        splitter: of the contract.
        mistakes: extended.
    """
    rules = contract.payload
    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any], sent: Sent, number: int) -> None:
        reading = row | {"payload": sent.payload}
        if rules.device_path:
            reading["device"] = sent.device
        if rules.time_path and sent.time:
            reading["time"] = (sent.time - _EPOCH) // timedelta(microseconds=1)
        if wrong := _wrong(rules.device_path, sent):
            mistakes.add(Mistake(file, wrong, row=number))
        else:
            rows.append(reading)

    for number, row in zip(numbers, table.to_pylist(), strict=True):
        try:
            several = splitter.split(row["payload"])
        except Violation as violation:
            if rules.time_path or row["device"] == OWN:
                mistakes.add(Mistake(file, f"{violation}", row=number))
            else:
                rows.append(row)
            continue
        for sent in several:
            add(row, sent, number)
    return pa.Table.from_pylist(rows, table.schema)


def _wrong(device_path: str | None, sent: Sent) -> str | None:
    if sent.wrong_time:
        return f"the time of a reading: {sent.wrong_time}"
    if device_path and not sent.device:
        return f"the device of a reading: nothing at {device_path!r}"
    return None
