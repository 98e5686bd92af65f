"""What a file of readings looks like: a first version of its sensor contract, and what is unsure.

It is made of the first rows only. What it says is a proposal for a person to read.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import orjson

from breezeway.contract.files import NULL_WORDS, Files
from breezeway.contract.time_formats import EXCEL, ISO, unit_of
from breezeway.contract.values import BETWEEN_GROUPS, grouped, marks_of
from breezeway.core.errors import DataError
from breezeway.core.times import from_iso
from breezeway.readings.file_columns import (
    SPREADSHEETS_MARK,
    file_literal,
    guess_encoding,
)
from breezeway.readings.file_mistakes import toml
from breezeway.readings.file_payloads import NUMBER
from breezeway.readings.file_rows import NORMAL
from breezeway.readings.file_text import PlainFile, plain_file, stem
from breezeway.readings.file_times import PATTERNS, fits
from breezeway.readings.json_guesses import sample_json

HEAD_BYTES = 1 << 20
SAMPLE_ROWS = 20_000
MOST = 0.95
"""Of the values of a column, so many have to be of a kind."""
MAX_CATEGORIES = 20
BOOLS = ({"true", "false"}, {"on", "off"})
DAYS = ("%Y%m%d", "%Y%m%d%H%M%S")
"""Times that look like numbers."""
UNNAMED = re.compile("column[0-9]+")
"""What DuckDB calls a column without a name."""
WORDS = {
    "time": r"time|zeit|date|datum|^ts$|stamp",
    "device": r"device|machine|anlage|asset|sensor.?id|unit.?id|product.?id|equipment|maschine",
    "label": r"label|anomal|fault|failure|attack|defect|st(ö|oe)rung|alarm",
    "fault": r"anomal|fault|fail|attack|defe[ck]t|st(ö|oe)rung|alarm|error|fehler|broken|kaputt",
}
DECIMAL = re.compile(r"[+-]?[0-9]+,[0-9]+")
CLOCK = re.compile(r"[0-9]{1,2}[:.][0-9]{2}([:.][0-9]{2}([.,][0-9]+)?)?( ?[AaPp][Mm])?")


@dataclass
class Guess:
    """A proposal.

    Attributes:
        files: keys of `[files]` as TOML.
        payload: those of `[payload]`.
        columns: field → its column, where these differ.
        fields: field → its keys as TOML.
        interval: seconds between two readings of a device.
        has_label: whether a column holds labels.
        has_payload: whether a column holds payloads.
        is_json: whether names of columns are paths.
        unsure: sentences for a person.
    """

    files: dict[str, str] = field(default_factory=dict)
    payload: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    interval: float = 60
    has_label: bool = False
    has_payload: bool = False
    is_json: bool = False
    unsure: list[str] = field(default_factory=list)


def guess(file: Path, folder: Path) -> Guess:
    """Look at the first rows of a file.

    Args:
        folder: for copies.

    Raises:
        DataError: it has no rows, or no column of numbers.
    """
    found = Guess()
    encoding = _encoding(file)
    if encoding:
        found.files["encoding"] = encoding
    plain = plain_file(file, Files(encoding=encoding.strip('"') or "utf-8"), folder)
    values = _sample(plain, found)
    if not values or not any(values.values()):
        raise DataError(f"{file}: there are no rows to look at.")
    if plain.format == "csv":
        _look_for_units(values, found)
        _look_for_decimal(values, found)
    marks = _Marks(*(found.files.get(key, "").strip('"') for key in ("decimal", "thousands")))
    taken = {*_time(values, marks, found), _device(values, file, found)}
    if found.payload:
        _read_in_payload(found)
    else:
        taken.add(_label(values, found))
    rest = {name: cells for name, cells in values.items() if name not in taken}
    words: set[str] = set()
    for name, cells in (_members(rest, found) or rest).items():
        if plain.format == "csv" and UNNAMED.fullmatch(name):
            found.unsure.append("A column without a name is left out.")
        else:
            _field(name, cells, marks, words, found)
    if words:
        found.files["null_words"] = f"[{', '.join(map(toml, sorted(words)))}]"
        found.unsure.append(f"Do {', '.join(sorted(words))} stand for no value?")
    if not found.fields:
        raise DataError(f"{file}: no column of numbers or of a few words was found.")
    return found


def _encoding(file: Path) -> str:
    """As TOML; empty if UTF-8 or a byte order mark says it."""
    with file.open("rb") as source:
        head = source.read(HEAD_BYTES)
    if head.startswith((b"\x1f\x8b", b"PAR1", b"\xff\xfe", b"\xfe\xff")):
        return ""
    try:
        head[: head.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return guess_encoding(head).partition(" = ")[2]
    return ""


def _sample(plain: PlainFile, found: Guess) -> dict[str, list[str | None]]:
    """Column → the texts of its first rows."""
    path = file_literal(plain.path)
    csv = "all_varchar = true, store_rejects = true, null_padding = true"
    reads = {
        "csv": f"read_csv({path}, skip = {{}}, {csv})",
        "parquet": f"read_parquet({path}, hive_partitioning = false)",
    }
    try:
        with duckdb.connect() as connection:
            if plain.format == "jsonl":
                found.is_json = True
                sample = sample_json(plain, connection, SAMPLE_ROWS)
                if sample.readings:
                    found.payload["readings"] = toml(sample.readings)
                return sample.values
            skip = _sniff(connection, plain, found) if plain.format == "csv" else 0
            rows_of = reads[plain.format].format(skip)
            relation = connection.sql(
                f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM {rows_of} LIMIT {SAMPLE_ROWS}"
            )
            names, rows = relation.columns, relation.fetchall()
    except duckdb.Error as error:
        said = str(error).splitlines()[0][:200]
        raise DataError(f"{plain.file}: DuckDB sees no table in it: {said}") from None
    return {
        name: [None if row[place] is None else str(row[place]) for row in rows]
        for place, name in enumerate(names)
    }


def _read_in_payload(found: Guess) -> None:
    """Times and devices of readings that were sent together stand in what was sent."""
    if "first_time" not in found.files:
        found.payload["time_path"] = found.files.pop("time_column", '"time"')
        if time_format := found.files.pop("time_format", ""):
            found.payload["time_format"] = time_format
    if "device" not in found.files:
        found.payload["device_path"] = found.files.pop("device_column", '"device"')
    found.unsure.append("Labels are not looked for in payloads: they are expected in a table.")


def _sniff(connection: duckdb.DuckDBPyConnection, plain: PlainFile, found: Guess) -> int:
    """Look for separator, quote and header.

    Returns:
        The lines before the header.
    """
    with plain.path.open(encoding="utf-8-sig", errors="replace") as lines:
        marked = int(SPREADSHEETS_MARK.fullmatch(lines.readline(100)) is not None)
    delimiter, quote, skip, header = connection.sql(
        "SELECT Delimiter, Quote, SkipRows, HasHeader "
        f"FROM sniff_csv({file_literal(plain.path)}, skip = {marked})"
    ).fetchall()[0]
    if delimiter != ",":
        found.files["separator"] = toml(delimiter)
    if quote not in ('"', "\0", "(empty)", ""):
        found.files["quote"] = toml(quote)
    if skip > marked:
        found.files["skip_rows"] = str(skip)
    if not header:
        found.unsure.append("No header was found: give the columns' names with names = […].")
    return int(skip)


def _look_for_units(values: dict[str, list[str | None]], found: Guess) -> None:
    numeric = [cells for cells in values.values() if _share(_is_number, _given(cells[1:])) > MOST]
    firsts = _given([cells[0] for cells in numeric])
    if firsts and not any(re.search("[0-9]", first) for first in firsts):
        found.files["units_row"] = "true"
        for cells in values.values():
            del cells[0]


@dataclass
class _Marks:
    """What is within numbers."""

    decimal: str
    thousands: str

    def plain(self, text: str) -> str:
        """A number as Python reads it; any other text as it is."""
        decimal = self.decimal or "."
        if self.thousands and re.fullmatch(grouped(self.thousands, decimal), text):
            text = re.sub(BETWEEN_GROUPS[self.thousands], "", text)
        return text.replace(decimal, ".")


def _look_for_decimal(values: dict[str, list[str | None]], found: Guess) -> None:
    cells = [cell.strip() for cells in values.values() for cell in cells if cell]
    told: Counter[str] = Counter()
    for cell in cells:
        if not re.fullmatch(NUMBER.replace(r"\.", "[.,]"), cell):
            told.update(["\n".join(marks_of(cell))])
    if best := max(told, key=lambda each: told[each] * bool(each), default=""):
        for setting in best.splitlines():
            key, _, mark = setting.partition(" = ")
            found.files[key] = mark
        return
    commas = sum(DECIMAL.fullmatch(cell) is not None for cell in cells)
    points = sum(re.fullmatch(r"[+-]?[0-9]+\.[0-9]+", cell) is not None for cell in cells)
    if commas > points:
        found.files["decimal"] = '","'


def _time(values: dict[str, list[str | None]], marks: _Marks, found: Guess) -> list[str]:
    """The columns of the time."""
    named = [name for name in values if re.search(WORDS["time"], name.lower())]
    for name in [*named, *(name for name in values if name not in named)]:
        texts = [cell.strip() for cell in values[name] if cell and cell.strip()][:1000]
        plain = list(map(marks.plain, texts))
        formats = _formats(plain if all(map(_is_number, plain)) else texts) if texts else []
        if not formats or (formats[0] == EXCEL and name not in named):
            continue
        columns = [name]
        if clock := _clock(name, texts, values):
            columns.append(clock)
            pairs = zip(*(values[each] for each in columns), strict=True)
            texts = [f"{day.strip()} {time.strip()}" for day, time in pairs if day and time][:1000]
            formats = _formats(texts)
            found.files["time_column"] = f"[{', '.join(toml(each.strip()) for each in columns)}]"
        elif name.strip() != "time":
            found.files["time_column"] = toml(name.strip())
        if formats[0] != ISO:
            found.files["time_format"] = toml(formats[0])
        if len(formats) > 1:
            found.unsure.append(f"Times may also be {formats[1]!r}: day or month first?")
        if not re.search(r"Z$|[+-][0-9]{2}:?[0-9]{2}$", texts[0]) and "epoch" not in formats[0]:
            found.unsure.append("Times have no offset: is their zone UTC? Else set time_zone.")
        return columns
    if named:
        found.files["time_column"] = toml(named[0].strip())
        found.unsure.append(f"The times in {named[0]!r} have no form that all share.")
        return named[:1]
    found.files["first_time"] = "2020-01-01T00:00:00Z"
    found.unsure.append("No column of times was found: a row is taken for each interval.")
    return []


def _clock(name: str, days: list[str], values: dict[str, list[str | None]]) -> str | None:
    """The column of the time of day, if the one of the time holds days alone."""
    if any(":" in day for day in days):
        return None
    for other, cells in values.items():
        times = [cell.strip() for cell in cells if cell and cell.strip()][:1000]
        if other == name or not times or not all(CLOCK.fullmatch(time) for time in times):
            continue
        if _formats([f"{days[0]} {time}" for time in times]):
            return other
    return None


def _formats(texts: list[str]) -> list[str]:
    """Those that all the texts are written in; two if they do not tell."""
    if all(re.fullmatch(NUMBER, text) for text in texts):
        days = [pattern for pattern in DAYS if all(fits(text, pattern) for text in texts)]
        units = {unit_of(text) for text in texts}
        return days or [unit for unit in units if unit and len(units) == 1]
    if _share(_is_iso, texts) == 1:
        return [ISO]
    return [pattern for pattern in PATTERNS if all(fits(text, pattern) for text in texts)][:2]


def _device(values: dict[str, list[str | None]], file: Path, found: Guess) -> str:
    for name in values:
        if re.search(WORDS["device"], name.lower()) and None not in values[name]:
            if name.strip() != "device":
                found.files["device_column"] = toml(name.strip())
            return name
    found.files["device"] = toml(re.sub("[{}]", "", stem(file)))
    found.unsure.append("No column of devices was found: all rows are taken for one device.")
    return ""


def _label(values: dict[str, list[str | None]], found: Guess) -> str:
    for name, cells in values.items():
        known = {cell.strip() for cell in cells if cell}
        if not 1 <= len(known) <= MAX_CATEGORIES or not _is_label(name, known):
            continue
        found.files["label_column"] = toml(name.strip())
        found.has_label = True
        if known - {"0", "1", "0.0", "1.0"}:
            faults = sorted(word for word in known if word.lower() not in (*NORMAL, "0"))
            found.files["faults"] = f"[{', '.join(map(toml, faults))}]"
            found.unsure.append(f"Are {', '.join(faults)} the labels of faults, and no others?")
        return name
    found.unsure.append("No column of labels was found: faults are expected in the table labels.")
    return ""


def _is_label(name: str, known: set[str]) -> bool:
    """Whether the name of a column says that it is a label, or its words do."""
    words = {word.lower() for word in known}
    others = words.difference(NORMAL)
    is_told = others < words and any(re.search(WORDS["fault"], word) for word in others)
    return is_told or re.search(WORDS["label"], name.lower()) is not None


def _members(
    values: dict[str, list[str | None]], found: Guess
) -> dict[str, list[str | None]] | None:
    """The members of a payload in JSON, if a column holds one."""
    for name, cells in values.items():
        given = _given(cells)
        if not given or _share(lambda text: text.startswith("{"), given) < MOST:
            continue
        if name.strip() != "payload":
            found.files["payload_column"] = toml(name.strip())
        found.has_payload = True
        found.unsure.append("Members of the payload that are lists or objects are left out.")
        members: dict[str, list[str | None]] = {}
        for text in given:
            for key, value in _object(text).items():
                if isinstance(value, int | float | str):
                    members.setdefault(key, []).append(str(value))
        return members
    return None


def _object(text: str) -> dict[str, Any]:
    try:
        payload = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return payload if isinstance(payload, dict) else {}


def _field(
    name: str, cells: list[str | None], marks: _Marks, words: set[str], found: Guess
) -> None:
    given = _given(cells)
    texts = list(map(marks.plain, given))
    numbers = [float(text) for text in texts if _is_number(text)]
    if not given or (numbers and _is_counter(numbers)):
        found.unsure.append(f"The column {name!r} is left out: it is empty, or counts the rows.")
        return
    key = _identifier(name, found)
    known = len(given)
    if _share(_is_number, texts) >= MOST:
        known = len(numbers)
        words |= {text for text in given if not _is_number(marks.plain(text))}
        found.fields[key] = _number(numbers, name)
        if len(set(numbers)) == 1:
            found.unsure.append(f"{key} never varies in the first rows.")
    elif {text.lower() for text in given} in BOOLS:
        found.fields[key] = {"type": '"bool"'}
    elif len(set(given)) <= MAX_CATEGORIES:
        listed = ", ".join(map(toml, sorted(set(given))))
        found.fields[key] = {"type": '"category"', "categories": f"[{listed}]"}
        found.unsure.append(f"Has {key} more categories than the first rows show?")
    else:
        found.unsure.append(f"The column {name!r} is left out: it holds many texts.")
        return
    if known < len(cells):
        found.fields[key]["invalid"] = toml("missing")
        missing = 100 * (1 - known / len(cells))
        found.unsure.append(f"{key} has no value in {missing:.2g} % of the rows.")
    if key != name and found.is_json:
        found.fields[key]["path"] = name if name.startswith("[") else toml(name)
    elif key != name and found.has_payload:
        found.fields[key]["path"] = f"[{toml(name)}]"
    elif key != name:
        found.columns[key] = name.strip()


def _number(numbers: list[float], name: str) -> dict[str, str]:
    if set(numbers) == {0, 1}:
        return {"type": '"bool"'}
    lowest, highest = min(numbers), max(numbers)
    margin = (highest - lowest or abs(highest) or 1) / 2
    unit = re.search(r"[\[(](.+)[\])]\s*$", name)
    is_int = all(number.is_integer() for number in numbers)
    return {
        "type": '"int"' if is_int else '"float"',
        **({"unit": toml(unit[1])} if unit else {}),
        "range": f"[{lowest - margin:.4g}, {highest + margin:.4g}]",
    }


def _identifier(name: str, found: Guess) -> str:
    plain = name.strip('[]"') if found.is_json and name.startswith("[") else name
    if found.is_json:
        *parents, plain = plain.split(".")
        plain = parents[-1] if parents and plain.lower() in ("value", "val", "v") else plain
    plain = re.sub(r"[\[(].*[\])]\s*$", "", plain)
    key = re.sub(r"\W+", "_", plain.strip()).strip("_") or "field"
    key = f"f_{key}" if not key.isidentifier() else key
    others = {other.lower() for other in found.fields} | {"device", "time", "label"}
    number = 2
    while key.lower() in others:
        key, number = f"{key.rstrip('0123456789')}{number}", number + 1
    return key


def interval(times: list[float]) -> float:
    """The usual distance of times of a device; 60 if there are too few."""
    steps = [b - a for a, b in pairwise(sorted(set(times)))]
    return median(steps) if steps else 60.0


def _share(check: Any, texts: list[str]) -> float:
    return Counter(map(check, texts))[True] / len(texts) if texts else 0.0


def _given(cells: list[str | None]) -> list[str]:
    """The cells that hold a value."""
    return [cell.strip() for cell in cells if cell and cell.strip().lower() not in NULL_WORDS]


def _is_number(text: str) -> bool:
    return re.fullmatch(NUMBER, text.strip().replace(",", ".")) is not None


def _is_iso(text: str) -> bool:
    try:
        from_iso(text)
    except ValueError:
        return False
    return True


def _is_counter(numbers: list[float]) -> bool:
    """Whether a column numbers the rows: it grows by the same step from row to row."""
    steps = {b - a for a, b in pairwise(numbers)}
    return len(numbers) > 2 and len(steps) == 1 and steps != {0.0}
