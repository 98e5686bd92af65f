"""What is wrong in files of readings: the first ten mistakes at once, each with its line."""

import csv
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from breezeway.core.errors import DataError

SHOWN = 10
SHOWN_LETTERS = 60
MAX_KINDS = 1000
ANY_LENGTH = 1 << 30


@dataclass(frozen=True)
class Mistake:
    """One value, row or column that cannot be read.

    Attributes:
        line: of the file, from 1; None where it is not known yet, or is of no line.
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

    def __str__(self) -> str:
        where = [str(self.file)]
        if self.line is not None:
            where.append(f"line {self.line}")
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

    def place(self, file: Path, lines: dict[int, int]) -> None:
        for kind, found in self._kinds.items():
            if kind[0] == file:
                found[:] = [
                    replace(m, line=lines.get(m.row)) if m.line is None and m.row is not None else m
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


def find_lines(
    path: Path,
    rows: Collection[int],
    *,
    skipped: int,
    refused: Collection[int] = (),
    separator: str | None,
    quote: str = "",
) -> dict[int, int]:
    """On which lines rows begin.

    Args:
        rows: places among the rows that DuckDB gave, from 0.
        skipped: lines before the first row.
        refused: lines of rows that it did not give.
        separator: between two columns; None if each line is a row.
    """
    found: dict[int, int] = {}
    if not rows:
        return found
    last = max(rows)
    place = 0
    for line in _row_starts(path, skipped, separator, quote):
        if line in refused:
            continue
        if place in rows:
            found[place] = line
        place += 1
        if place > last:
            break
    return found


def _row_starts(path: Path, skipped: int, separator: str | None, quote: str) -> Iterator[int]:
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        if separator is None or len(separator) > 1:
            for number, line in enumerate(lines, 1):
                if number > skipped and line.strip():
                    yield number
            return
        for _ in range(skipped):
            lines.readline()
        reader = csv_reader(lines, separator, quote)
        before = csv.field_size_limit(ANY_LENGTH)
        try:
            while True:
                start = reader.line_num + 1
                row: Sequence[str] | None = next(reader, None)
                if row is None:
                    return
                if row:
                    yield skipped + start
        finally:
            csv.field_size_limit(before)


def csv_reader(lines: Iterable[str], separator: str, quote: str) -> Any:
    """Python's reader, with the contract's marks."""
    if not quote:
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=separator, quotechar=quote)
