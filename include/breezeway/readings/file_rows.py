"""The rows of a file as readings, and what is wrong in them: one SELECT of DuckDB a file.

Device, time, label and numbers are checked here. What else is wrong in a payload, preprocessing
finds by the contract and counts.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa

from breezeway.contract.contract import Contract
from breezeway.contract.files import Files
from breezeway.core.days import find_zone
from breezeway.core.errors import DataError
from breezeway.readings import file_times
from breezeway.readings.file_columns import REJECTS, Columns, find_columns, guess_encoding
from breezeway.readings.file_mistakes import (
    SHOWN,
    Mistake,
    Mistakes,
    Row,
    find_rows,
    no_reading,
    odd_line,
    shown,
    toml,
)
from breezeway.readings.file_payloads import expected_number
from breezeway.readings.file_query import Query, query_of
from breezeway.readings.file_splitting import split_rows
from breezeway.readings.file_text import MAX_LINE_BYTES, PlainFile

BLOCK_ROWS = 20_000
NORMAL = (
    *(
        "normal",
        "ok",
        "okay",
        "good",
        "false",
        "no",
        "none",
        "healthy",
        "pass",
        "passed",
        "regular",
    ),
    *("nein", "gut", "io", "i.o.", "i. o.", "in ordnung", "fehlerfrei", "keine", "non", "normale"),
)
"""Words that are no fault, for the setting that a message names."""


def read_rows(
    plain: PlainFile,
    contract: Contract,
    device: str | None,
    connection: duckdb.DuckDBPyConnection,
    mistakes: Mistakes,
) -> Iterator[pa.Table]:
    """The rows of a file, some ten thousand at a time; mistakes are added as they are found.

    Args:
        device: of all rows, in place of what the contract says.

    Yields:
        Tables of `device`, `time` (int64, microseconds since 1970 in UTC), `payload`, `label`, and
        `field`: the place of the field in the contract, where a row is the value of one.

    Raises:
        DataError: DuckDB cannot read the file.
    """
    before = mistakes.count
    with _reading(plain, contract.files, connection):
        columns = find_columns(plain, contract, connection, mistakes)
        query = query_of(plain, contract, device, columns, mistakes)
        if query is None:
            return
        rows = 0
        blocks = connection.sql(query.sql).to_arrow_reader(BLOCK_ROWS)
        for block in blocks:
            # DuckDB tells of the rows that it refused when it has read all of them.
            if mistakes.count - before < SHOWN:
                yield _checked(pa.table(block), rows, plain.file, contract, query, mistakes)
            rows += block.num_rows
        refused = _refused(plain, connection)
    if not rows and not refused and mistakes.count == before:
        below = " below the header" if plain.format == "csv" else ""
        raise DataError(f"{plain.file}: there is no row{below}. Nothing was loaded.")
    _place(plain, columns, contract.files, refused, mistakes)


@contextmanager
def _reading(
    plain: PlainFile, files: Files, connection: duckdb.DuckDBPyConnection
) -> Iterator[None]:
    connection.execute(f"DROP TABLE IF EXISTS {REJECTS}")
    connection.execute("DROP TABLE IF EXISTS reject_scans")
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise DataError(f"{plain.file}: its rows need more memory than there is.") from None
    except duckdb.Error as error:
        if "state machine" in str(error):  # it gives up, and names no line
            line = odd_line(plain.path, files.skip_rows, plain.separator, files.quote)
            where = f"{plain.file}, line {line}" if line else f"{plain.file}"
            raise DataError(
                f"{where}: quotes or the ends of lines are mixed up, so rows cannot be told apart. "
                "Nothing was loaded."
            ) from None
        said = str(error).splitlines()[0][:300].rstrip(".")
        raise DataError(f"{plain.file}: DuckDB cannot read it: {said}.") from None


# -- the rows


def _checked(
    block: pa.Table,
    first: int,
    file: Path,
    contract: Contract,
    query: Query,
    mistakes: Mistakes,
) -> pa.Table:
    """The readings of a block, with times in UTC."""
    times = _writable(block["time"], 0)
    left_out = _writable(block["left_out"], False)
    local = _writable(block["is_local"], False) & ~left_out
    _add_wrong(block, first, times, local, _Adder(file, contract, query, mistakes))
    if contract.files.first_time is not None and not query.is_split:
        since = round(contract.files.first_time.timestamp() * 1_000_000)
        step = contract.interval_seconds * 1_000_000
        times = since + np.rint((first + np.arange(len(block))) * step).astype(np.int64)
    if query.is_local and local.any():
        places = np.flatnonzero(local)
        times[places], wrong = file_times.to_utc(times[places], find_zone(contract.files.time_zone))
        for number, said in sorted(wrong.items()):
            place = int(places[number])
            text = file_times.ambiguous_time(block["said"][place].as_py(), said, contract.files)
            mistakes.add(Mistake(file, text, row=first + place, column=query.columns["time"]))
    names = ["device", "time", "payload", "label", "field"]
    columns = [block["device"], pa.array(times), block["payload"], block["label"], block["field"]]
    table = pa.table(dict(zip(names, columns, strict=True)))
    numbers = np.arange(first, first + len(block))
    if left_out.any():
        table, numbers = table.filter(pa.array(~left_out)), numbers[~left_out]
    if not (query.is_split and contract.splitter):
        return table
    return split_rows(table, numbers.tolist(), file, contract, contract.splitter, mistakes)


def _writable(column: pa.ChunkedArray, nothing: Any) -> np.ndarray:
    kind = pa.bool_() if isinstance(nothing, bool) else pa.int64()
    filled = column.combine_chunks().cast(kind).fill_null(nothing)
    return np.array(filled.to_numpy(zero_copy_only=False))


def _add_wrong(
    block: pa.Table, first: int, times: np.ndarray, local: np.ndarray, add: "_Adder"
) -> None:
    """Add what the query found; a time that only Python reads is put among the others."""
    wrong = block["wrong"]
    if wrong.null_count == len(wrong):
        return
    for place in np.flatnonzero(wrong.is_valid().to_numpy()).tolist():
        for what, text in orjson.loads(f"[{wrong[place].as_py()[:-1]}]"):
            read = add.read(what, text)
            if read is None:
                add(what, text, first + place, block["begins"][place].as_py() or "")
            else:
                times[place], local[place] = read


class _Adder:
    """Turns what the query found into mistakes."""

    def __init__(self, file: Path, contract: Contract, query: Query, mistakes: Mistakes):
        self._file = file
        self._contract = contract
        self._query = query
        self._mistakes = mistakes

    def read(self, what: str, text: str | None) -> tuple[int, bool] | None:
        """A time that only Python reads."""
        return file_times.read_slowly(text, self._contract.files) if what == "time" else None

    def __call__(self, what: str, text: str | None, row: int, begins: str) -> None:
        said, setting = self._said(what.removeprefix("="), text)
        if row == 0 and self._may_be_unit(what, text):
            setting = "units_row = true if this is a row of units"
        elif what in ("time", "device") and not re.search("[0-9]", text or ""):
            setting = setting or no_reading(begins, is_alone=text == begins)
        column = "" if what == "object" else self._query.columns[what.removeprefix("=")]
        self._mistakes.add(Mistake(self._file, said, row=row, column=column, setting=setting))

    def _may_be_unit(self, what: str, text: str | None) -> bool:
        files = self._contract.files
        is_word = text is not None and not re.search("[0-9]", text)
        return is_word and not (files.units_row or files.names) and what not in ("object", "label")

    def _said(self, what: str, text: str | None) -> tuple[str, str]:
        files = self._contract.files
        if what == "object":
            got = "got something else" if text is None else f"got {shown(text)}"
            return f"expected a JSON object, {got}", ""
        if what == "device":
            return "the device is empty", ""
        if what == "time":
            return file_times.expected_time(text, files)
        if what == "label":
            return self._label(text or "")
        field = self._query.fields.get(what) or next(iter(self._query.fields.values()))
        return expected_number(text or "", field, files)

    def _label(self, text: str) -> tuple[str, str]:
        files = self._contract.files
        if files.faults:
            words = ", ".join(map(shown, [*files.faults, *files.normal][:20]))
            return (
                f"the label: expected one of {words} or nothing, got {shown(text)}",
                f"faults or normal with {toml(text[:60])} in it",
            )
        if text.strip().lower() in NORMAL:
            setting = 'faults = ["…"] with the words that are faults'
        else:
            setting = f"faults = [{toml(text.strip()[:60])}]"
        return f"the label: expected 0, 1 or nothing, got {shown(text)}", setting


def _refused(plain: PlainFile, connection: duckdb.DuckDBPyConnection) -> dict[int, tuple[str, str]]:
    """The rows that DuckDB refused: their number, the kind of mistake, and what it says."""
    if plain.format != "csv":
        return {}
    found = connection.sql(
        f"SELECT line, any_value(error_type), max(error_message) FROM {REJECTS} GROUP BY line"
    ).fetchall()
    return {line: (kind, said) for line, kind, said in found}


def _place(
    plain: PlainFile,
    columns: Columns,
    files: Files,
    refused: dict[int, tuple[str, str]],
    mistakes: Mistakes,
) -> None:
    """Add the rows that DuckDB refused, and find the lines of all mistakes."""
    wanted = mistakes.unplaced(plain.file)
    if not columns.has_lines:
        mistakes.place(plain.file, {row: row + 1 for row in wanted}, "row")
        return
    lines, rows = find_rows(
        plain.path,
        wanted,
        refused,
        skipped=columns.skipped,
        separator=plain.separator if plain.format == "csv" else None,
        quote=files.quote,
    )
    mistakes.place(plain.file, lines)
    encoding = ""
    for number, (kind, said) in sorted(refused.items()):
        row = rows.get(number, Row(number, 0))
        setting = ""
        if kind in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
            said = f"expected {len(columns.names)} columns, got {row.width}"
            setting = _for_width(row, len(columns.names))
        elif kind == "UNQUOTED VALUE":
            said = "a quote begins or ends within a value"
        elif kind == "INVALID ENCODING":
            encoding = encoding or guess_encoding(_raw_line(plain.path, row.line))
            said, setting = "not UTF-8", encoding
        elif kind == "LINE SIZE OVER MAXIMUM":
            said = f"longer than the {MAX_LINE_BYTES} bytes that a line may have"
        mistakes.add(Mistake(plain.file, said, line=row.line, setting=setting))


def _for_width(row: Row, expected: int) -> str:
    """The setting for a row of another width than the header's."""
    if row.begins.startswith("#"):
        return 'comment = "#"'
    if row.width > expected:
        return f"names = […] with names for {row.width} columns, and skip_rows and short_rows"
    short = "short_rows = true if the last columns may be missing"
    return no_reading(row.begins, is_alone=row.width == 1) or short


def _raw_line(path: Path, number: int) -> bytes:
    with path.open("rb") as lines:
        return next(islice(lines, number - 1, None), b"")
