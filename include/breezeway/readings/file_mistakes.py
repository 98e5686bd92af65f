"""What is wrong in files of readings: the first ten mistakes at once, each with its line."""

import csv
import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from breezeway.core.errors import DataError

SHOWN = 10
SHOWN_LETTERS = 60
MAX_KINDS = 1000
LONGEST = 16 << 20
"""Characters of a line in which further mistakes are placed; DuckDB takes a quarter of it."""

SUMMARY = re.compile(
    r"((grand|sub|gesamt)[ -]?)?(totals?|sum|summen?|count|average|mean|avg|mittel(wert)?"
    r"|durchschnitt|median|min(imum)?|max(imum)?|std|stdev|gesamt|anzahl|ergebnis|ende?|eof"
    r"|somme|moyenne|media)(?![\w.-])",
    re.IGNORECASE,
)
"""What rows begin with that sum up others, or end a file."""


@dataclass(frozen=True)
class Mistake:
    """One value, row or column that cannot be read.

    Attributes:
        line: of the file, from 1; None where it is not known yet, or is of no line.
        unit: what `line` counts, where rows do not begin lines.
        row: place among the rows that DuckDB gave, from 0, where the line is to be found by it.
        column: its name; empty for a whole row.
        said: what was expected, and what there is.
        setting: of the contract's section `[files]`, which would help.
    """

    file: Path
    said: str
    line: int | None = None
    row: int | None = None
    column: str = ""
    setting: str = ""
    unit: str = "line"

    def __str__(self) -> str:
        where = [str(self.file)]
        if self.line is not None:
            where.append(f"{self.unit} {self.line}")
        if self.column:
            where.append(f"column {shown(self.column)}")
        return f"{', '.join(where)}: {self.said}" + (f"; set {self.setting}" * bool(self.setting))


class Mistakes:
    """Those of all files; of each kind as many as are shown."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[Path, str, str], list[Mistake]] = {}
        self.count = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def has(self, mistake: Mistake) -> bool:
        """Whether there is one that the same setting would help."""
        return (mistake.file, mistake.column, mistake.setting) in self._kinds

    def add(self, mistake: Mistake) -> None:
        self.count += 1
        kind = (mistake.file, mistake.column, mistake.setting)
        if kind in self._kinds or len(self._kinds) < MAX_KINDS:
            of_kind = self._kinds.setdefault(kind, [])
            if len(of_kind) < SHOWN:
                of_kind.append(mistake)

    def unplaced(self, file: Path) -> set[int]:
        """The rows of a file whose lines are to be found."""
        found = itertools.chain(*self._kinds.values())
        return {m.row for m in found if m.file == file and m.row is not None and m.line is None}

    def place(self, file: Path, lines: dict[int, int], unit: str = "line") -> None:
        for kind, found in self._kinds.items():
            if kind[0] == file:
                found[:] = [
                    replace(m, line=lines.get(m.row), unit=unit)
                    if m.line is None and m.row is not None
                    else m
                    for m in found
                ]

    def refuse(self) -> None:
        """Raise if there are any: one of each kind, then others, in the order of the lines.

        Raises:
            DataError: up to ten mistakes.
        """
        if not self:
            return
        places = {file: number for number, (file, _, _) in enumerate(self._kinds)}
        ranked = [
            (number, places[m.file], m.line or 0, m)
            for found in self._kinds.values()
            for number, m in enumerate(found)
        ]
        chosen = sorted(ranked, key=lambda r: (r[0] > 0, *r[1:3]))[:SHOWN]
        lines = [str(m) for *_, m in sorted(chosen, key=lambda r: r[1:3])]
        if len(lines) == 1:
            raise DataError(f"{lines[0]}. Nothing was loaded.")
        many = (
            f"The first {SHOWN} mistakes" if self.count > len(lines) else f"{len(lines)} mistakes"
        )
        raise DataError("\n  ".join([f"{many}; nothing was loaded:", *lines]))


def shown(value: str) -> str:
    """A value as a message has it."""
    return repr(value) if len(value) <= SHOWN_LETTERS else repr(value[: SHOWN_LETTERS - 1] + "…")


@dataclass(frozen=True)
class Row:
    """Where a row of a text file begins, how many columns it has (0 if it is empty), and what
    stands in the first of them that has a value."""

    line: int
    width: int
    begins: str = ""


def find_rows(
    path: Path,
    rows: Collection[int],
    refused: Collection[int],
    *,
    skipped: int,
    separator: str | None,
    quote: str = "",
) -> tuple[dict[int, int], dict[int, Row]]:
    """On which lines rows begin.

    Args:
        rows: places among the rows that DuckDB gave, from 0.
        refused: what DuckDB calls the lines of rows that it did not give. It counts a row as one
            line, though a value in quotes may have several.
        skipped: lines before the first row.
        separator: between two columns; None if each line is a row.

    Returns:
        Place → line, and number of a refused row → the row.
    """
    given: dict[int, int] = {}
    others: dict[int, Row] = {}
    last, last_refused = max(rows, default=-1), max(refused, default=-1)
    place = 0
    if rows or refused:
        for number, row in enumerate(_rows(path, skipped, separator, quote), skipped + 1):
            if number in refused:
                others[number] = row
            elif row.width:
                if place in rows:
                    given[place] = row.line
                place += 1
            if place > last and number >= last_refused:
                break
    return given, others


def odd_line(path: Path, skipped: int, separator: str, quote: str) -> int | None:
    """The line of the first row that has not as many columns as the header."""
    rows = (row for row in _rows(path, skipped, separator, quote) if row.width)
    header = next(rows, None)
    return next((row.line for row in rows if header and row.width != header.width), None)


def _rows(path: Path, skipped: int, separator: str | None, quote: str) -> Iterator[Row]:
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        for _ in range(skipped):
            lines.readline()
        if separator is None or len(separator) > 1:
            for number, line in enumerate(_lines(lines), skipped + 1):
                text = line.strip("\r\n")
                width = text.count(separator) + 1 if separator else 1
                yield Row(number, width if text.strip() else 0, text.strip()[:SHOWN_LETTERS])
            return
        reader = csv_reader(_lines(lines), separator, quote)
        before = csv.field_size_limit(LONGEST)
        try:
            while True:
                line = reader.line_num
                row: Sequence[str] | None = next(reader, None)
                if row is None:
                    return
                begins = next(filter(None, map(str.strip, row)), "")[:SHOWN_LETTERS]
                yield Row(skipped + line + 1, len(row), begins)
        except csv.Error:  # a value that is longer still
            return
        finally:
            csv.field_size_limit(before)


def _lines(lines: TextIO) -> Iterator[str]:
    """The lines up to one that is far too long."""
    while (line := lines.readline(LONGEST)) and len(line) < LONGEST:
        yield line


def no_reading(begins: str, is_alone: bool) -> str:
    """The setting for a row that is a total, say; empty if it is none.

    Args:
        begins: its first cell.
        is_alone: whether nothing else is expected in such a row; so it need not be a total.
    """
    word = re.match(r"[^\W\d_]\D*", begins) if is_alone else SUMMARY.match(begins)
    return f"skip_words = [{toml(word[0].strip(' .:'))}] if it is no reading" if word else ""


def toml(text: str) -> str:
    """A string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def csv_reader(lines: Iterable[str], separator: str, quote: str) -> Any:
    """Python's reader, with the contract's marks."""
    if not quote:
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=separator, quotechar=quote)
