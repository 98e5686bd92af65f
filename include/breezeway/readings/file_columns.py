"""Where the columns of a file of readings are: its names, and the SQL of each cell.

A cell is text, as the file writes it; null where it is empty.
"""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

import duckdb
import orjson

from breezeway.contract.contract import Contract
from breezeway.contract.files import Files
from breezeway.core.errors import DataError
from breezeway.core.quoting import json_pointer, sql_string
from breezeway.readings.file_mistakes import Mistake, Mistakes, csv_reader, shown, toml
from breezeway.readings.file_text import MAX_LINE_BYTES, PlainFile

MAX_COLUMNS = 5000
BUFFER_BYTES = 4 * MAX_LINE_BYTES
REJECTS = "rejects"
SEPARATORS = (";", ",", "\t", "|")
SPREADSHEETS_MARK = re.compile(r'"?sep=.?"?\s*')
"""The first line of files for a spreadsheet may tell it the separator."""
LINES = "newline_delimited"
BLANKS = b"\xef\xbb\xbf \t\r\n"


def file_literal(path: Path) -> str:
    """The name of one file, which DuckDB would take for a pattern of names."""
    return sql_string(re.sub(r"([*?\[])", r"[\1]", str(path)))


def joined(parts: Sequence[str], operator: str) -> str:
    """Parts of SQL with an operator between them, nested no deeper than a parser allows."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({joined(parts[:middle], operator)} {operator} {joined(parts[middle:], operator)})"


@dataclass(frozen=True)
class Columns:
    """The columns of one file.

    Attributes:
        relation: what stands behind FROM.
        names: as the file writes them; empty if each row has its own, as in JSON lines.
        types: of a Parquet file, in SQL.
        skipped: lines before the first row.
        has_lines: whether each row begins a line.
    """

    plain: PlainFile
    relation: str
    names: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    skipped: int = 0
    has_lines: bool = True

    @property
    def is_json(self) -> bool:
        return self.plain.format == "jsonl"

    def has(self, name: str) -> bool:
        return self.is_json or bool(self._places(name))

    def cell(self, name: str) -> str:
        """The SQL of a cell.

        Raises:
            KeyError: there is no such column.
            ValueError: there are several; the message names their positions.
        """
        if self.is_json:
            return f"coalesce({', '.join(f'json_extract_string(j, {p})' for p in _paths(name))})"
        column = f"c{self.place(name)}"
        if not self.types:
            return column
        kind = self.type_of(name)
        if kind.endswith("[]") or kind.startswith(("STRUCT", "MAP")):
            return f"CAST(to_json({column}) AS VARCHAR)"
        return f"CAST({column} AS VARCHAR)"

    def type_of(self, name: str) -> str:
        """The SQL type of a column; text where the file says nothing of types."""
        return self.types[self.place(name)] if self.types else "VARCHAR"

    def place(self, name: str) -> int:
        places = self._places(name)
        if not places:
            raise KeyError(name)
        if len(places) > 1:
            where = " and ".join(str(place + 1) for place in places[:10])
            raise ValueError(f"{len(places)} columns have this name, at the positions {where}")
        return places[0]

    def _places(self, name: str) -> list[int]:
        """The columns of a name, blanks around it left out; if one is exactly so called, that."""
        found = [n for n, each in enumerate(self.names) if each.strip() == name.strip()]
        exact = [n for n in found if self.names[n] == name]
        return exact if len(exact) == 1 and name != name.strip() else found

    def near(self, name: str) -> str:
        """The name that may be meant instead, or all of them."""
        close = get_close_matches(name, self.names, n=1)
        if close:
            return f"there is {shown(close[0])}"
        names = ", ".join(map(shown, islice(self.names, 20)))
        more = f" and {len(self.names) - 20} more" if len(self.names) > 20 else ""
        return f"there are {names}{more}" if names else "there are none"


def _paths(name: str) -> list[str]:
    """JSON pointers to a key: to the one of that name, else to one that dots lead to."""
    ways = [[name], name.split(".")] if "." in name else [[name]]
    return [sql_string(json_pointer(way)) for way in ways]


def find_columns(
    plain: PlainFile, contract: Contract, connection: duckdb.DuckDBPyConnection, mistakes: Mistakes
) -> Columns:
    """Read what a file says of its columns.

    Raises:
        DataError: it has too many, or is no such file.
    """
    path, files = file_literal(plain.path), contract.files
    if plain.format == "jsonl":
        to_reading = contract.payload.to_own
        layout = json_layout(plain, bool(to_reading) and not isinstance(to_reading[0], str))
        relation = f"(SELECT json AS j FROM {read_json(path, layout)})"
        return Columns(plain, relation, has_lines=layout == LINES)
    if plain.format == "parquet":
        parquet = f"read_parquet({path}, hive_partitioning = false)"
        try:
            found = connection.sql(f"DESCRIBE SELECT * FROM {parquet}").fetchall()
        except duckdb.Error as error:
            raise DataError(f"{plain.file}: no Parquet file: {_first_line(error)}.") from None
        names, types = [row[0] for row in found], [row[1] for row in found]
        _refuse_width(plain.file, len(names))
        columns = ", ".join(f"c{n}" for n in range(len(names)))
        relation = f"(SELECT * FROM {parquet} AS file({columns}))"
        return Columns(plain, relation, names, types, has_lines=False)
    return csv_columns(plain, files, mistakes)


def csv_columns(plain: PlainFile, files: Files, mistakes: Mistakes) -> Columns:
    """Read what a file of text says of its columns.

    Raises:
        DataError: it has too many, or its header cannot be read.
    """
    names, skipped = _header(plain, files, mistakes)
    _refuse_width(plain.file, len(names))
    relation = _read_csv(plain, files, len(names), _rows_among(plain, files, skipped))
    return Columns(plain, relation, names, skipped=skipped)


def _read_csv(plain: PlainFile, files: Files, width: int, skipped: int) -> str:
    columns = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(width))
    quote, separator = sql_string(files.quote), sql_string(plain.separator)
    # Only one thread tells the ends of rows from those of lines within a value then.
    padding = ", null_padding = true, parallel = false" if files.short_rows else ""
    return (
        f"read_csv({file_literal(plain.path)}, columns = {{{columns}}}, auto_detect = false, "
        f"compression = 'none', header = false, skip = {skipped}, delim = {separator}, "
        f"quote = {quote}, escape = {quote}, max_line_size = {MAX_LINE_BYTES}, "
        f"buffer_size = {BUFFER_BYTES}, hive_partitioning = false, store_rejects = true, "
        f"rejects_table = '{REJECTS}', rejects_limit = 1000{padding})"
    )


def _refuse_width(file: Path, width: int) -> None:
    if width > MAX_COLUMNS:
        raise DataError(f"{file}: {width} columns: expected up to {MAX_COLUMNS}.")


def json_layout(plain: PlainFile, has_lists: bool) -> str:
    """How the values of a file of JSON stand in it, as DuckDB calls it.

    Args:
        has_lists: whether a list in a line is a payload, and not the list of all readings.
    """
    with plain.path.open("rb") as file:
        first = next(filter(None, (line.strip(BLANKS) for line in _pieces(file))), b"")
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        if first.startswith(b"["):
            return "array"
        return "unstructured" if first.endswith((b"{", b"[", b":", b",")) else LINES
    return "array" if first.startswith(b"[") and not has_lists else LINES


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        yield line


def read_json(path: str, layout: str) -> str:
    """The SQL of a table with the column `json`."""
    options = f"compression = 'none', maximum_object_size = {MAX_LINE_BYTES}"
    if layout == LINES:  # only there DuckDB goes on behind what it cannot read
        return f"read_ndjson_objects({path}, ignore_errors = true, {options})"
    return f"read_json_objects({path}, format = '{layout}', {options})"


def _header(plain: PlainFile, files: Files, mistakes: Mistakes) -> tuple[list[str], int]:
    """The names of the columns, and how many lines stand before the first row."""
    with plain.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        skipped = files.skip_rows
        if not skipped and SPREADSHEETS_MARK.fullmatch(lines.readline(100)):
            skipped = 1
        lines.seek(0)
        for _ in range(skipped):
            lines.readline(MAX_LINE_BYTES)
        read = skipped
        names = list(files.names)
        if not names or files.units_row:
            separator = plain.separator if len(plain.separator) == 1 else "\0"
            reader = csv_reader(_bounded(lines), separator, files.quote)
            try:
                rows = filter(None, reader)
                names = names or _divided(next(rows, []), plain)
                start = reader.line_num
                if files.units_row:
                    next(rows, None)
                line = reader.line_num
            except csv.Error as error:
                line = read + max(reader.line_num, 1)
                raise DataError(f"{plain.file}, line {line}: {error}.") from None
            if not files.names and names and not names[-1].strip():
                _drop_unnamed(names, _divided(_next(rows) or names, plain))
            read += line
            _check_header(plain.file, names, skipped + start, mistakes)
    return [name.encode(errors="surrogateescape").decode(errors="replace") for name in names], read


def _rows_among(plain: PlainFile, files: Files, count: int) -> int:
    """The rows in the first lines: a row has several where a value in quotes has."""
    with plain.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        separator = plain.separator if len(plain.separator) == 1 else "\0"
        reader = csv_reader(islice(_bounded(lines), count), separator, files.quote)
        try:
            return sum(1 for _ in reader)
        except csv.Error:  # of lines that the contract skips, and does not divide
            return count


def _divided(row: list[str], plain: PlainFile) -> list[str]:
    """The cells of a row, also where Python's reader cannot divide it."""
    separator = plain.separator
    return separator.join(row).split(separator) if len(separator) > 1 else row


def _next(rows: Iterator[list[str]]) -> list[str]:
    """The next row; empty if Python's reader cannot read it, of which DuckDB will tell."""
    try:
        return next(rows, [])
    except csv.Error:
        return []


def _drop_unnamed(names: list[str], row: list[str]) -> None:
    """Drop what a header has behind its last separator, if the rows have none there."""
    while len(names) > max(len(row), 1) and not names[-1].strip():
        del names[-1]


def _bounded(lines: TextIO) -> Iterator[str]:
    while line := lines.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise csv.Error(f"a line of more than {MAX_LINE_BYTES} bytes")
        yield line


def _check_header(file: Path, names: list[str], line: int, mistakes: Mistakes) -> None:
    wrong = next((n for n in names if any("\udc80" <= c <= "\udcff" for c in n)), None)
    if wrong is not None:
        raw = wrong.encode(errors="surrogateescape")
        mistakes.add(Mistake(file, f"not UTF-8: {raw!r}", line, setting=guess_encoding(raw)))


def guess_encoding(raw: bytes) -> str:
    """The setting for text that is not UTF-8."""
    # These are controls in Latin 1, and letters and signs in Windows' variant of it.
    name = "cp1252" if any(0x80 <= byte < 0xA0 for byte in raw) else "latin-1"
    return f'encoding = "{name}"'


def guess_separator(names: Collection[str], separator: str) -> str:
    """The setting for a header that holds another separator than the contract's."""
    text = separator.join(names)
    counts = {each: text.count(each) for each in SEPARATORS if each != separator}
    best = max(counts, key=lambda each: counts[each])
    if counts[best] >= max(1, len(names) - 1):
        return f"separator = {toml(best)}"
    return ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300].rstrip(".")
