"""What a query of readings would give: its first rows, how many, and what the contract says.

It reads in the same session as `preprocess`, which cannot write, and leaves nothing behind. What it
reads is bounded: the store ends the query after `SECONDS`, at most `CHECKED_ROWS` rows, or
64 MiB, are checked, and behind them rows are only counted.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from breezeway.contract.contract import Contract
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.preprocessing.dataset import try_readings
from breezeway.preprocessing.manifest import Rejected
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.arrow import UNREADABLE
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import open_store

SECONDS = 20.0
"""How long the store may take."""
CHECKED_ROWS = 20_000
COUNTED_ROWS = 1_000_000
COUNT_SECONDS = 10.0
"""After so long, rows behind those that are checked are counted no further."""
SHOWN_ROWS = 20
SHOWN_LETTERS = 400
"""Of a payload or a name."""


@dataclass(frozen=True)
class Row:
    """A row as a person reads it: what cannot be printed is escaped, and long text is cut.

    Attributes:
        time: ISO 8601, UTC; what stands there, if it is no time.
        problem: what breaks the contract; empty if nothing was found or if the row was not sought.
    """

    device: str
    time: str
    payload: str
    label: str
    problem: str = ""


@dataclass(frozen=True)
class Preview:
    """Attributes:
    query: that was run.
    rows: how many it gives; at least so many, if not `is_all`.
    is_all: whether it gives no more.
    checked: how many of them were checked against the contract, from the first on.
    readings: how many these hold, if payloads may hold several.
    accepted, copies, quarantined: how many of these.
    first_time, last_time: of the accepted ones, ISO 8601, UTC; None if none is.
    rejected: what broke the contract, the most frequent first, with an example.
    missing: values of accepted readings that count as missing, by field and reason.
    objections: for each reason for which `preprocess` would refuse the checked rows as a whole,
        a sentence.
    first: the first rows.
    bad: the first that were quarantined, by device and time.
    """

    query: str
    rows: int
    is_all: bool
    checked: int
    readings: int
    accepted: int
    copies: int
    quarantined: int
    first_time: str | None
    last_time: str | None
    rejected: list[Rejected]
    missing: dict[str, int]
    objections: list[str]
    first: list[Row]
    bad: list[Row]


def look(settings: Settings, contract: Contract, query: str) -> Preview:
    """Run a query and check the first of its rows.

    Args:
        query: one SELECT, as for `preprocess`.

    Raises:
        UsageError: the query is not one SELECT, cannot be run, or takes too long.
        DataError: a column is missing or has a wrong type.
        ServiceUnavailable: the raw store does not answer.
    """
    limit = min(SECONDS, settings.query_seconds)
    bounded = settings.model_copy(update={"query_seconds": limit})
    try:
        tables, rows, is_all = _read(bounded, contract, query)
    except UsageError as error:
        if "BREEZEWAY_QUERY_SECONDS" not in str(error):
            raise
        raise UsageError(
            f"--query: the raw store did not give these rows within {limit:g} s, the most that a "
            "preview waits. Select less to look at it, such as one day. The run itself may take "
            f"{settings.query_seconds:g} s."
        ) from None
    # Not in the work folder: where Airflow's pages run, there may be none.
    with tempfile.TemporaryDirectory(prefix="breezeway-preview-") as name:
        folder = Path(name)
        labels = LabelStore(settings.raw_address, limit).labels_of(contract)
        spec = DatasetSpec(contract, query, labels)
        tried = try_readings(tables, spec, folder, settings.threads)
        bad = list(_bad_rows(folder / "quarantine"))
    found = tried.manifest
    return Preview(
        query=query,
        rows=rows,
        is_all=is_all,
        checked=sum(map(len, tables)),
        readings=found.raw.rows,
        accepted=found.rows,
        copies=found.copies,
        quarantined=found.quarantined,
        first_time=found.raw.first_time and found.raw.first_time[:19],
        last_time=found.raw.last_time and found.raw.last_time[:19],
        rejected=[
            each.model_copy(update={"example": printable(each.example)}) for each in found.rejected
        ],
        missing=found.missing,
        objections=[printable(sentence, 4 * SHOWN_LETTERS) for sentence in tried.objections],
        first=[_row(row) for table in tables for row in table.slice(0, SHOWN_ROWS).to_pylist()],
        bad=bad,
    )


def _read(settings: Settings, contract: Contract, query: str) -> tuple[list[pa.Table], int, bool]:
    """The rows to check, in at most one table; how many there are; and whether there are no more.

    Long rows make the table shorter: its bytes are bounded too.
    """
    started = time.monotonic()
    label = contract.label.column
    chunks = open_store(settings).stream(query, CHECKED_ROWS, label, with_ids=True)
    first = list(itertools.islice(chunks, 1))
    rows = sum(map(len, first))
    for chunk in chunks:
        if rows >= COUNTED_ROWS or time.monotonic() - started > COUNT_SECONDS:
            return first, rows, False
        rows += len(chunk)
    return first, rows, True


def _bad_rows(folder: Path) -> Iterator[Row]:
    shown = 0
    for file in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(SHOWN_ROWS):
            for row in batch.to_pylist()[: SHOWN_ROWS - shown]:
                shown += 1
                yield _row(row)
            if shown == SHOWN_ROWS:
                return


def _row(row: dict[str, Any]) -> Row:
    moment = row["time"] and row["time"].replace(tzinfo=None).isoformat(" ")
    label = row["label"]
    return Row(
        device=_text(row["device"]),
        time=_text(moment or row.get(UNREADABLE.name)),
        payload=_text(row["payload"]),
        label="" if label is None else f"{label}",
        problem=printable(row.get("message", "")),
    )


def _text(value: str | None) -> str:
    return "null" if value is None else printable(value)


def printable(text: str, most: int = SHOWN_LETTERS) -> str:
    r"""Text that does nothing to a terminal or to the direction of a page's text.

    >>> printable("a\x1b[31m\u202eb")
    'a\\x1b[31m\\u202eb'
    """
    cut = text[:most]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return f"{shown} …" if len(text) > most else shown


def query_of_days(settings: Settings, contract: Contract, first: date, last: date) -> str:
    """The query of all readings of some days.

    Raises:
        as for `look`.
    """
    store = open_store(settings)
    return store.query_of_days(first, last, contract.zone, contract.label.column)


def sentences(found: Preview) -> Iterator[str]:
    """What a person has to know of it."""
    if not found.rows:
        yield "The query gives no row: preprocess would refuse it."
        return
    yield f"The query gives {found.rows:,} row{'s' * (found.rows > 1)}{_or_more(found)}."
    of = f" of {found.readings:,} readings" if found.readings != found.checked else ""
    yield (
        f"The first {found.checked:,} were checked:{of} {found.accepted:,} keep the contract, "
        f"{found.quarantined:,} would go to quarantine"
        + (f", {found.copies:,} repeat another to the letter" if found.copies else "")
        + "."
    )
    if found.first_time:
        yield f"Those that keep it are from {found.first_time} to {found.last_time} (UTC)."
    for name, count in found.missing.items():
        yield f"{name}: {count:,} values count as missing."
    for sentence in found.objections:
        yield f"preprocess would refuse {'them' if found.is_all else 'these'}: {sentence}"


def _or_more(found: Preview) -> str:
    return "" if found.is_all else " or more: they were counted no further"
