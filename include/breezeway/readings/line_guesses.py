"""How the lines of a text file are divided: a guess by its first lines and its last."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from breezeway.contract.files import BLANKS, NULL_WORDS
from breezeway.contract.parser import BYTE_ORDER_MARK
from breezeway.readings.file_columns import SEPARATORS, SPREADSHEETS_MARK
from breezeway.readings.file_mistakes import SUMMARY, toml

FIRST_BYTES, LAST_BYTES = 1 << 19, 1 << 15
FIRST_LINES, LAST_LINES = 1000, 50
BINARY = 0.3
"""With more bytes of zero than this, a text is UTF-16."""
LIKELY = 0.3
"""Of so many rows of one width, columns are likely to be divided so."""
HEADER_ROWS = 50
"""A header is among so many."""
NAMED = 60
"""Letters of a line by which it is left out."""
_NUMBER = re.compile(r"[+-]?[.,]?[0-9][0-9.,:/\-' \u00a0\u202fTZeE+]*\W{0,3}\w{0,6}")
"""A number with a unit, or a time."""


def utf16_of(head: bytes) -> str:
    """The encoding of UTF-16 without a byte order mark; empty if a text is something else.

    Args:
        head: its first bytes.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or len(head) < 2:
        return ""
    zeros = [head[side::2].count(0) / len(head[side::2]) for side in (0, 1)]
    if max(zeros) > BINARY and min(zeros) < BINARY / 10:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    return ""


@dataclass
class Lines:
    """How lines are divided.

    Attributes:
        files: keys of `[files]` as TOML.
        unsure: sentences for a person.
    """

    files: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    line: int
    cells: list[str]

    @property
    def width(self) -> int:
        """Without the empty cells at its end."""
        return max((n for n, cell in enumerate(self.cells, start=1) if cell), default=0)

    @property
    def numbers(self) -> int:
        return sum(_NUMBER.fullmatch(cell) is not None for cell in self.cells)

    @property
    def begins(self) -> str:
        filled = (cell for cell in self.cells[:3] if cell.lower() not in NULL_WORDS)
        return next(filled, "")


def guess_lines(path: Path) -> Lines:
    """Look at the first and the last lines of a file of text in UTF-8.

    Raises:
        ValueError: rows are wider than the header; the message says so.
    """
    found = Lines()
    first, last = _read_lines(path)
    if first and SPREADSHEETS_MARK.fullmatch(first[0]):
        first[0] = ""
    header = _leave_out_comments(first, last, found)
    rows, separator = _divided(first, last, found)
    if rows:
        width = _usual_width([len(row.cells) for row in rows])
        names, begin = _find_names(rows, width, header, found)
        _find_odd_rows(rows[begin:] + list(_rows(last, separator)), names, begin > 0, found)
    return found


def _read_lines(path: Path) -> tuple[list[str], list[str]]:
    """The first lines, and those of the last that are not among them."""
    with path.open("rb") as file:
        head = file.read(FIRST_BYTES)
        size = file.seek(0, 2)
        begin = max(len(head), size - LAST_BYTES)
        file.seek(begin)
        tail = file.read(LAST_BYTES)
    if len(head) < size:
        # The end of a line that is cut off is among the last lines, or in neither.
        end = max(head.rfind(b"\n"), head.rfind(b"\r")) + 1 or len(head)
        tail = (
            head[end:] + tail if begin == len(head) else re.split(rb"[\r\n]", tail, maxsplit=1)[-1]
        )
        head = head[:end]
    first = head.decode(errors="replace").removeprefix(BYTE_ORDER_MARK)
    last = re.split(r"\r\n|\r|\n", tail.decode(errors="replace"))
    lines = re.split(r"\r\n|\r|\n", first)
    if len(lines) > FIRST_LINES:
        lines, rest = lines[:FIRST_LINES], lines[FIRST_LINES:]
        last = last if len(head) < size else rest
    return lines, last[-LAST_LINES:]


def _leave_out_comments(first: list[str], last: list[str], found: Lines) -> list[str]:
    """Empty lines that are comments.

    Returns:
        The header, if it is one of them.
    """
    comments = [n for n, line in enumerate(first) if line.startswith("#")]
    if comments and re.match(r"#\s*[,;\t|]", first[comments[0]]):
        return []  # a column is called so
    if not comments and not any(line.startswith("#") for line in last):
        return []
    found.files["comment"] = toml("#")
    filled = next((n for n, line in enumerate(first) if line.strip() and n not in comments), -1)
    before = [n for n in comments if n < filled]
    header = first[before[-1]].lstrip("# ") if before else ""
    for lines in (first, last):
        lines[:] = ["" if line.startswith("#") else line for line in lines]
    for separator in (*SEPARATORS, BLANKS) if header else ():
        names, row = (
            next(_rows([line], separator), _Row(0, [])) for line in (header, first[filled])
        )
        is_as_wide = 1 < len(names.cells) == len(row.cells)
        if is_as_wide and row.numbers and not names.numbers:
            return names.cells
    return []


def _rows(lines: Sequence[str], separator: str) -> Iterator[_Row]:
    """The rows that hold something."""
    if separator == BLANKS:
        for number, line in enumerate(lines):
            if cells := re.findall(r'(?:"[^"]*"|[^ \t"]|")+', line):
                yield _Row(number, [cell.strip('"') for cell in cells])
        return
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t")
    begin = 0
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield _Row(begin, list(map(str.strip, cells)))
            begin = reader.line_num
    except csv.Error:  # a value that is too long for it
        return


def _divided(first: Sequence[str], last: Sequence[str], found: Lines) -> tuple[list[_Row], str]:
    """The first rows by the likeliest separator, and that."""
    ways = {each: list(_rows(first, each)) for each in (*SEPARATORS, BLANKS)}
    shares = {}
    for each, rows in ways.items():
        widths = [len(row.cells) for row in (*rows, *_rows(last, each))]
        usual = _usual_width(widths)
        shares[each] = widths.count(usual) / len(widths) if usual > 1 else 0.0
    aligned = shares[BLANKS]
    if any(_names_columns(ways[each]) for each in SEPARATORS if shares[each] > LIKELY):
        shares[BLANKS] = 0.0
    separator = max(shares, key=lambda each: shares[each])
    separator = separator if shares[separator] else ","
    if separator == "\t" and aligned == shares[separator]:
        # Tabs among blanks: then a cell holds a run of them.
        has_runs = any("  " in cell for row in ways[separator] for cell in row.cells)
        separator = BLANKS if has_runs else separator
    if separator != ",":
        found.files["separator"] = toml(separator)
    quoted = sum(re.search(r"(^|[,;\t|])'[^']*'([,;\t|]|$)", line) is not None for line in first)
    if quoted > len(first) / 2:
        found.files["quote"] = toml("'")
    elif sum(not _is_quoted_well(line, separator) for line in first) > len(first) / 2:
        found.files["quote"] = toml("")
    return ways[separator], separator


def _is_quoted_well(line: str, separator: str) -> bool:
    """Whether the quotes of a line are around values."""
    try:
        list(csv.reader([line], delimiter=separator, strict=True)) if separator != BLANKS else []
    except csv.Error:
        return False
    return True


def _names_columns(rows: Sequence[_Row]) -> bool:
    """Whether one of the first rows may be a header of several columns."""
    return any(row.width > 1 and not row.numbers for row in rows[:HEADER_ROWS])


def _usual_width(widths: Sequence[int]) -> int:
    counts = Counter(widths)
    return max(counts, key=lambda width: (counts[width], width), default=1)


def _find_names(
    rows: Sequence[_Row], width: int, header: list[str], found: Lines
) -> tuple[list[str], int]:
    """The names of the columns, and the place of the first row below them.

    Args:
        rows: all, with the header.
        header: found among comments; else empty.
    """
    if header:
        found.files["names"] = _listed(header)
        return header, 0
    usual = sorted(row.numbers for row in rows)[len(rows) // 2]
    near = [n for n, row in enumerate(rows) if _is_as_wide(row, width)] or [0]
    first = next((n for n in near if usual and rows[n].numbers > usual / 2), near[0] + 1)
    if first and rows[first - 1].width > 1 and first - 1 not in near:
        _refuse_width(rows[first - 1], width)
    # A row of units may stand between the header and the rows.
    above = [n for n in (first - 2, first - 1) if n in near and not rows[n].numbers]
    if len(above) == 2 and rows[above[1]].line > rows[above[0]].line + 1:
        del above[0]
    place = above[0] if above else first - 1
    if place not in near:
        names = [f"column{n + 1}" for n in range(width)]
        found.files["names"] = _listed(names)
        if first:
            found.files["skip_rows"] = str(rows[first].line)
        found.unsure.append("No header was found: give the columns' names with names = […].")
        return names, first
    if place:
        found.files["skip_rows"] = str(rows[place].line)
    below_it = [row for row in rows[place + 1 :] if len(row.cells) == width]
    names = _names(rows[place], below_it, found)
    if below_it and len(names) < max(row.width for row in below_it):
        _refuse_width(rows[place], width)
    if names != rows[place].cells[: len(names)]:
        found.files["names"] = _listed(names)
        found.files["skip_rows"] = str(rows[place].line + 1)
    return names, place + 1


def _refuse_width(header: _Row, width: int) -> NoReturn:
    raise ValueError(
        f"line {header.line + 1} names {header.width} columns, and most rows have {width}: "
        "expected as many. Numbers with a decimal comma need another separator, or quotes"
    )


def _is_as_wide(row: _Row, width: int) -> bool:
    """Whether a row may be the header of others."""
    filled = sum(map(bool, row.cells))
    is_near = abs(width - len(row.cells)) <= 1
    return is_near and filled > len(row.cells) / 2 and (filled > 1 or width == 1)


def _names(header: _Row, rows: Sequence[_Row], found: Lines) -> list[str]:
    """A name for each column, also where the header has none or one twice."""
    names = list(header.cells)
    cells = rows[0].cells[: max(row.width for row in rows)] if rows else []
    if header.width == len(cells) - 1:
        clock = next((n for n, cell in enumerate(cells) if re.match(r"[0-9]{1,2}:", cell)), 0)
        if clock and found.files.get("separator") == toml(BLANKS):
            names[clock - 1 : clock] = ["date", "time"]
        elif [row.cells[0] for row in rows[:3]] in (["0", "1", "2"], ["1", "2", "3"]):
            names = ["", *names]  # of rows that are numbered
    while len(names) > len(cells) > 0 and not names[-1]:
        del names[-1]
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and name)
    if twice:
        found.unsure.append(f"Several columns are called {', '.join(twice)}: they are numbered.")
    numbered: Counter[str] = Counter()
    for place, name in enumerate(names):
        numbered[name] += 1
        if numbered[name] > 1 and name:
            names[place] = f"{name} {numbered[name]}"
    return names


def _find_odd_rows(rows: list[_Row], names: list[str], has_header: bool, found: Lines) -> None:
    """Find rows that are no readings, and rows of other widths."""
    rows = [row for row in rows if row.cells[: len(names)] != names]  # the header, again
    summaries = [SUMMARY.match(row.begins) for row in rows]
    if sum(map(bool, summaries)) > max(5, len(rows) / 10):
        summaries = [None] * len(rows)  # a column holds such words
    words = {summary[0]: None for summary in summaries if summary}
    others = [row for row, summary in zip(rows, summaries, strict=True) if not summary]
    while len(names) > 1 and len(others) > 1 and others[-1].width == 1:
        words[_word_of(others.pop().begins)] = None
    words.pop("", None)
    if words:
        found.files["skip_words"] = _listed(words)
        found.unsure.append(f"Lines that begin with {', '.join(words)} are left out.")
    longer = [row.width for row in others if row.width > max(len(names), 1)]
    if longer and has_header and len(longer) < len(others) / 2:
        place = int(found.files.get("skip_rows", "0"))
        found.files["skip_rows"] = str(place + ("names" not in found.files))
        more = [f"column{n + 1}" for n in range(len(names), max(longer))]
        names = [*names, *more]
        found.files["names"] = _listed(names)
        found.unsure.append(f"Some rows go on behind the header, in {', '.join(more)}.")
    short = sum(len(row.cells) < len(names) for row in others)
    if short:
        found.files["short_rows"] = "true"
        found.unsure.append(f"{short} of the first rows end early: are their last values missing?")


def _word_of(text: str) -> str:
    """What a line begins with that is no reading."""
    word = re.match(r"[^\W\d_]+", text)
    # What a contract takes: no separator at its begin, no line end.
    return word[0] if word else re.sub(r'^[\s,;|"]+|[\r\n].*', "", text[:NAMED]).strip()


def _listed(words: Iterable[str]) -> str:
    return f"[{', '.join(map(toml, words))}]"
