"""Readings from CSV files: a file is loaded whole or not at all, and no reading twice.

Only what places a reading is checked here: its device, its time, its label. The payload goes to
the store as the file has it; what is wrong in it, preprocessing finds by the contract and counts.
"""

import csv
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from breezeway.core.errors import DataError, TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway.core.times import from_iso
from breezeway.readings.arrow import READINGS
from breezeway.readings.load_store import ID_LETTERS, Counts, LoadStore

log = logging.getLogger(__name__)

AI4I_START = datetime(2020, 1, 1, tzinfo=UTC)
"""AI4I has no times: its rows are taken as one a minute from here on."""

AI4I_FIELDS = {
    "type": "Type",
    "air_temperature": "Air temperature [K]",
    "process_temperature": "Process temperature [K]",
    "rotational_speed": "Rotational speed [rpm]",
    "torque": "Torque [Nm]",
    "tool_wear": "Tool wear [min]",
}
"""Key in the payload -> column. The failure modes tell the label and stay out."""

SKAB_SENSORS = [
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
]

CHUNK_ROWS = 50_000
CHUNK_BYTES = 32 << 20
"""A table is passed on when it reaches either."""
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

Row = tuple[str, datetime, str | None, int | None]
"""A reading, as `READINGS` has it."""


@dataclass(frozen=True)
class Format:
    """How the rows of a CSV file become readings.

    Attributes:
        device: gives the device of a row.
        time: gives its time from the row and its number, 0 being the first.
        payload: gives its payload.
        columns: those that must be there.
        label_column: holds its label: 0, 1 or nothing.
        label: the label of all rows where there is no such column.
        separator: between two columns.
    """

    device: Callable[[dict[str, str]], str]
    time: Callable[[dict[str, str], int], datetime]
    payload: Callable[[dict[str, str]], str | None]
    columns: list[str]
    label_column: str | None = None
    label: str = ""
    separator: str = ","


def load(
    settings: Settings,
    paths: Sequence[Path],
    format_of: Callable[[Path], Format],
    *,
    replace: bool = False,
) -> dict[str, int]:
    """Check all files, then load each in one transaction.

    Args:
        paths: files, or folders of them.
        format_of: gives the format of a file.
        replace: whether readings take the place of others of the same device and time.

    Returns:
        How many `files` there are and how many of them were `loaded` now; and how many `readings`
        are new, how many were `known`, and how many were `replaced`.

    Raises:
        UsageError: a file is not there.
        DataError: file, line and column of what is wrong; nothing is loaded then. Or a reading has
            another content in the store; nothing of this file or the following is loaded then.
    """
    files = _find_files(paths)
    formats = [format_of(file) for file in files]
    contents = [_digest(read(file, form)) for file, form in zip(files, formats, strict=True)]
    store = LoadStore(settings.raw_address)
    store.create()
    total = Counts()
    loaded = 0
    for file, form, content in zip(files, formats, contents, strict=True):
        tables = _unchanged(file, form, content)
        counts = store.load(tables, content, str(file), replace=replace)
        name = content[:ID_LETTERS]
        if counts is None:
            later = store.count_replaced(content)
            note = f"; later loads replaced {later} of its readings" if later else ""
            log.info("%s: loaded before, as %s%s", file, name, note)
            continue
        log.info(
            "%s: load %s, %d readings are new, %d were known, %d were replaced",
            *(file, name, counts.new, counts.known, counts.replaced),
        )
        loaded += 1
        total.new += counts.new
        total.known += counts.known
        total.replaced += counts.replaced
    return {
        "files": len(files),
        "loaded": loaded,
        "readings": total.new,
        "known": total.known,
        "replaced": total.replaced,
    }


def read(file: Path, form: Format) -> Iterator[pa.Table]:
    """A file's readings, some ten thousand at a time.

    Yields:
        Tables as `READINGS`.

    Raises:
        DataError: file, line and column of what is wrong.
    """
    rows: list[Row] = []
    number = size = 0
    for line, row in _rows(file, form):
        rows.append(_reading(file, line, number, row, form))
        number += 1
        size += len(rows[-1][2] or "")
        if len(rows) == CHUNK_ROWS or size >= CHUNK_BYTES:
            yield _table(rows)
            rows, size = [], 0
    if not number:
        raise DataError(f"{file}: there is no row below the header.")
    if rows:
        yield _table(rows)


# -- the formats


def skab(file: Path) -> Format:
    """Skoltech Anomaly Benchmark: `;`-separated, eight sensors, labels in `anomaly`.

    The folder `anomaly-free` has no labels; it is documented as normal operation, so all of it
    is labelled 0. Another file without labels has none.
    """
    folder = file.resolve().parent.name
    device = f"{folder}/{file.stem}"
    return Format(
        device=lambda _: device,
        time=lambda row, _: _time(row, "datetime"),
        payload=lambda row: ";".join(row[name] for name in SKAB_SENSORS),
        label_column="anomaly",
        label="0" if folder == "anomaly-free" else "",
        columns=["datetime", *SKAB_SENSORS],
        separator=";",
    )


def ai4i(_: Path) -> Format:
    """AI4I 2020: the six inputs as JSON, the label from `Machine failure`."""
    return Format(
        device=lambda row: row["Product ID"],
        time=lambda _, number: AI4I_START + timedelta(minutes=number),
        payload=lambda row: _json_object(row, AI4I_FIELDS),
        label_column="Machine failure",
        columns=["Product ID", "Machine failure", *AI4I_FIELDS.values()],
    )


def general(
    *,
    device: str,
    time: str,
    payload: str | Sequence[str],
    label: str | None,
    separator: str,
) -> Format:
    """A CSV file with these columns.

    Args:
        payload: the column that holds it, or those that a JSON object is made of.
    """
    several = [] if isinstance(payload, str) else list(payload)
    one = payload if isinstance(payload, str) else ""
    return Format(
        device=lambda row: row[device],
        time=lambda row, _: _time(row, time),
        payload=(lambda row: _json_object(row, {name: name for name in several}))
        if several
        else (lambda row: row[one] or None),
        label_column=label,
        columns=[device, time, *(several or [one]), *([label] if label else [])],
        separator=separator,
    )


PUBLIC = {"skab": skab, "ai4i": ai4i}
"""Public data → the format of one of its files."""


# -- files and rows


def _find_files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        found = sorted(path.rglob("*.csv")) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"{path}: there is no .csv file in this folder.")
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder.")
        files += found
    return files


def _open(file: Path) -> TextIO:
    try:
        return file.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}.") from None


def _rows(file: Path, form: Format) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the line and values by column, empty lines left out."""
    with _open(file) as lines:
        reader = csv.reader(lines, delimiter=form.separator, strict=True)
        try:
            header = next(reader, [])
            missing = [name for name in form.columns if name not in header]
            if missing:
                raise DataError(
                    f"{file}: the column {missing[0]!r} is missing; the first line has "
                    f"{', '.join(header) or 'nothing'}."
                )
            for values in filter(None, reader):
                yield reader.line_num, _by_column(header, values)
        except csv.Error as error:
            raise DataError(f"{file}, line {reader.line_num}: {error}.") from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"{file}, after line {reader.line_num}: not UTF-8 ({error.reason})."
            ) from None


def _by_column(header: list[str], values: list[str]) -> dict[str, str]:
    if len(values) != len(header):
        raise csv.Error(f"expected {len(header)} columns, got {len(values)}")
    return dict(zip(header, values, strict=True))


def _reading(file: Path, line: int, number: int, row: dict[str, str], form: Format) -> Row:
    try:
        device = form.device(row)
        if not device:
            raise ValueError(f"the device ({form.columns[0]}) is empty")
        label = row.get(form.label_column or "", form.label)
        return device, form.time(row, number), form.payload(row), _label(label)
    except ValueError as error:
        raise DataError(f"{file}, line {line}: {error}.") from None


def _time(row: dict[str, str], column: str) -> datetime:
    try:
        return from_iso(row[column])
    except ValueError:
        raise ValueError(
            f"column {column!r}: expected a time such as 2026-01-31T12:00:00, got {row[column]!r}"
        ) from None


def _label(text: str) -> int | None:
    if text == "":
        return None
    if text not in ("0", "1", "0.0", "1.0"):
        raise ValueError(f"the label: expected 0, 1 or nothing, got {text!r}")
    return int(text[0])


def _json_object(row: dict[str, str], keys: dict[str, str]) -> str:
    """A JSON object: numbers as the file writes them, empty cells null, the rest text."""
    members = (f"{json.dumps(key)}:{_json_value(row[column])}" for key, column in keys.items())
    return "{" + ",".join(members) + "}"


def _json_value(text: str) -> str:
    if text == "":
        return "null"
    return text if _NUMBER.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _table(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(list(c), f.type) for c, f in zip(columns, READINGS, strict=True)],
        schema=READINGS,
    )


def _digest(tables: Iterable[pa.Table]) -> str:
    """SHA-256 of readings, the same however a file writes them."""
    digest = hashlib.sha256()
    for table in tables:
        _update(digest, table)
    return digest.hexdigest()


def _unchanged(file: Path, form: Format, content: str) -> Iterator[pa.Table]:
    """A file's readings again.

    Raises:
        TryAgain: they are no longer the same, after the last table.
    """
    digest = hashlib.sha256()
    for table in read(file, form):
        _update(digest, table)
        yield table
    if digest.hexdigest() != content:
        raise TryAgain(f"{file} was changed while it was loaded; nothing of it was loaded.")


def _update(digest: "hashlib._Hash", table: pa.Table) -> None:
    columns = table.set_column(1, "time", table["time"].cast(pa.int64())).columns
    for row in zip(*(column.to_pylist() for column in columns), strict=True):
        digest.update(repr(row).encode())
