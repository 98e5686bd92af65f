"""What a file of readings looks like: a first version of its sensor contract, and what is unsure.

It is made of the first rows only. What it says is a proposal for a person to read.
"""

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import orjson

from breezeway.contract.files import NULL_WORDS, Files
from breezeway.contract.other_forms import hint_for_json
from breezeway.contract.values import BETWEEN_GROUPS, grouped, marks_of
from breezeway.core.errors import DataError
from breezeway.readings.file_columns import REJECTS, csv_columns, file_literal, guess_encoding
from breezeway.readings.file_kinds import GZIP, PARQUET, ZIP
from breezeway.readings.file_mistakes import Mistakes, toml
from breezeway.readings.file_payloads import NUMBER
from breezeway.readings.file_text import PlainFile, plain_file, stem
from breezeway.readings.json_guesses import sample_json
from breezeway.readings.label_guesses import guess_labels
from breezeway.readings.line_guesses import guess_lines, utf16_of
from breezeway.readings.time_guesses import guess_times

HEAD_BYTES = 1 << 20
SAMPLE_ROWS = 20_000
MOST = 0.95
"""Of the values of a column, so many have to be of a kind."""
HALF = 0.5
"""Of them, so many have to be numbers if all others are a few words."""
FEW_WORDS = 5
LONGEST_UNIT = 20
MAX_CATEGORIES = 20
BOOLS = ({"true", "false"}, {"on", "off"})
DEVICE = (
    r"device|machine|anlage|asset|sensor.?id|unit.?id|product.?id|equipment|maschine|ger(ä|ae)t"
)
TAG = (
    r"^_?(tag|tag.?name|field|variable|signal|parameter|metric|channel|kanal|messpunkt|merkmal"
    r"|messgr(ö|oe)(ß|ss)e)$"
)
VALUE = r"^_?(value|val|wert|messwert)$"
MAX_TAGS = 500
WITH_UNIT = re.compile(
    r"([+-]?[0-9.,][0-9.,' \u00a0\u202f]*?)[ \u00a0\u202f]*([^\W\d_]\S{0,9}|[%°‰]\S{0,9})"
)
DECIMAL = re.compile(r"[+-]?[0-9]+,[0-9]+")
IN_ASCII = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "µ": "u"}
)
Values = dict[str, list[str | None]]
"""Column → the texts of its first rows."""


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
        other_times: time formats that the first rows do not rule out.
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
    other_times: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)


def guess(file: Path, folder: Path) -> Guess:
    """Look at the first rows of a file.

    Args:
        folder: for copies.

    Raises:
        DataError: it has no rows, or no column of numbers.
    """
    found = Guess()
    values, is_text = _sample(file, folder, found)
    if not values or not any(values.values()):
        raise DataError(f"{file}: there are no rows to look at.")
    units: dict[str, str] = {}
    bare = values
    if is_text:
        _look_for_units_row(values, found)
        bare, units = _without_units(values, found)
        _look_for_decimal(bare, found)
    marks = _Marks(*(found.files.get(key, "").strip('"') for key in ("decimal", "thousands")))
    times = guess_times(values, marks.plain)
    found.files |= times.files
    found.unsure += times.unsure
    found.other_times = times.others
    taken = {*times.columns, _device(values, file, found)}
    if found.payload:
        _read_in_payload(found)
    else:
        labels = guess_labels({name: cells for name, cells in values.items() if name not in taken})
        taken.add(labels.column)
        found.has_label = bool(labels.column)
        found.files |= labels.files
        found.unsure += labels.unsure
    rest = {name: cells for name, cells in bare.items() if name not in taken}
    words: set[str] = set()
    for name, cells in (_members(rest, found) or _tags(rest, found) or rest).items():
        _field(name, cells, marks, units.get(name, ""), words, found)
    if words:
        found.files["null_words"] = f"[{', '.join(map(toml, sorted(words)))}]"
        found.unsure.append(f"Do {', '.join(sorted(words))} stand for no value?")
    if not found.fields:
        left_out = " ".join(said for said in found.unsure if "is left out" in said)
        raise DataError(
            f"{file}: no column of numbers or of a few words was found. {left_out}".rstrip()
        )
    return found


def _encoding(file: Path) -> str:
    """As TOML; empty if UTF-8 or a byte order mark says it."""
    with file.open("rb") as source:
        head = source.read(HEAD_BYTES)
    if head.startswith((GZIP, *ZIP, PARQUET)):
        return ""
    if utf16 := utf16_of(head):
        return toml(utf16)
    try:
        head[: head.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return guess_encoding(head).partition(" = ")[2] if b"\0" not in head else ""
    return ""


def _sample(file: Path, folder: Path, found: Guess) -> tuple[Values, bool]:
    """The first rows, and whether they are text between separators."""
    if encoding := _encoding(file):
        found.files["encoding"] = encoding
    plain = plain_file(file, _files(found), folder)
    try:
        with duckdb.connect() as connection:
            if plain.format == "jsonl":
                found.is_json = True
                sample = sample_json(plain, connection, SAMPLE_ROWS)
                if sample.readings:
                    found.payload["readings"] = toml(sample.readings)
                return sample.values, False
            if plain.format == "csv":
                return _sample_text(plain, folder, connection, found), True
            rows_of = f"read_parquet({file_literal(plain.path)}, hive_partitioning = false)"
            relation = connection.sql(
                f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM {rows_of} LIMIT {SAMPLE_ROWS}"
            )
            return _by_name(relation.columns, relation.fetchall()), False
    except duckdb.Error as error:
        said = str(error).splitlines()[0][:200]
        raise DataError(f"{plain.file}: DuckDB sees no table in it: {said}") from None


def _files(found: Guess) -> Files:
    text = "\n".join(f"{key} = {value}" for key, value in found.files.items())
    return Files.model_validate(tomllib.loads(text))


def _sample_text(
    plain: PlainFile, folder: Path, connection: duckdb.DuckDBPyConnection, found: Guess
) -> Values:
    try:
        lines = guess_lines(plain.path)
    except ValueError as error:
        raise DataError(f"{plain.file}, {error}.") from None
    found.files |= lines.files
    found.unsure += lines.unsure
    files = _files(found)
    columns = csv_columns(plain_file(plain.file, files, folder), files, Mistakes())
    if not columns.names:
        return {}
    cells = ", ".join(f"c{place}" for place in range(len(columns.names)))
    rows = connection.sql(f"SELECT {cells} FROM {columns.relation} LIMIT {SAMPLE_ROWS}").fetchall()
    names = [name.strip() for name in columns.names]
    rows = [
        row
        for row in rows
        if any(cell and cell.strip() for cell in row)
        and [(cell or "").strip() for cell in row] != names
    ]
    refused = connection.sql(f"SELECT line, lower(error_type) FROM {REJECTS} LIMIT 1").fetchall()
    for line, kind in refused if not rows else ():
        raise DataError(
            f"{plain.file}: no row can be read; the first mistake is in line {line}: {kind}. "
            "Expected other separators or quotes."
        )
    values = _by_name(columns.names, rows)
    if unnamed := [name for name in values if not name.strip()]:
        found.unsure.append("A column without a name is left out.")
        for name in unnamed:
            del values[name]
    return values


def _by_name(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Values:
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
    found.unsure.append("Labels are not looked for in payloads: the contract has no [label].")


def _look_for_units_row(values: Values, found: Guess) -> None:
    numeric = [cells for cells in values.values() if _share(_is_number, _given(cells[1:])) > MOST]
    firsts = _given([cells[0] for cells in numeric])
    if firsts and not any(
        re.search("[0-9]", first) or len(first) > LONGEST_UNIT for first in firsts
    ):
        found.files["units_row"] = "true"
        for cells in values.values():
            del cells[0]


def _without_units(values: Values, found: Guess) -> tuple[Values, dict[str, str]]:
    """Numbers without the units behind them, and the unit of each column that has one."""
    bare, units = dict(values), {}
    for name, cells in values.items():
        matches = [WITH_UNIT.fullmatch(cell.strip()) if cell else None for cell in cells]
        seen = Counter(match[2] for match in matches if match)
        numbers = sum(_is_number(cell) for cell in _given(cells))
        if not seen or seen.total() + numbers < MOST * len(_given(cells)):
            continue
        units[name] = max(seen, key=lambda unit: seen[unit])
        if len(seen) > 1:
            found.unsure.append(f"The numbers of {name!r} have several units: {', '.join(seen)}.")
        pairs = zip(cells, matches, strict=True)
        bare[name] = [match[1] if match else cell for cell, match in pairs]
    return bare, units


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


def _look_for_decimal(values: Values, found: Guess) -> None:
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


def _device(values: Values, file: Path, found: Guess) -> str:
    for name in values:
        if re.search(DEVICE, name.lower()) and None not in values[name]:
            if name.strip() != "device":
                found.files["device_column"] = toml(name.strip())
            return name
    found.files["device"] = toml(re.sub("[{}]", "", stem(file)))
    found.unsure.append("No column of devices was found: all rows are taken for one device.")
    return ""


def _members(values: Values, found: Guess) -> Values | None:
    """The members of a payload in JSON, if a column holds one."""
    for name, cells in values.items():
        given = _given(cells)
        if not given or _share(lambda text: text.startswith("{"), given) < MOST:
            continue
        if name.strip() != "payload":
            found.files["payload_column"] = toml(name.strip())
        found.has_payload = True
        found.unsure.append("Members of the payload that are lists or objects are left out.")
        members: Values = {}
        for text in given:
            for key, value in _object(text).items():
                if isinstance(value, int | float | str):
                    members.setdefault(key, []).append(str(value))
        return members
    return None


def _tags(values: Values, found: Guess) -> Values | None:
    """The values of each tag, if a row is the value of one."""
    tags = next((name for name in values if re.search(TAG, name.strip().lower())), None)
    value = next((name for name in values if re.search(VALUE, name.strip().lower())), None)
    if found.is_json or tags is None or value is None:
        return None
    known = Counter(_given(values[tags]))
    if not 1 <= len(known) <= MAX_TAGS or _share(_is_number, _given(values[tags])) > HALF:
        return None
    found.files["tag_column"] = toml(tags.strip())
    if value.strip() != "value":
        found.files["value_column"] = toml(value.strip())
    if others := [name.strip() for name in values if name not in (tags, value)]:
        found.unsure.append(f"Beside tags and values, {', '.join(others[:20])} are left out.")
    cells: Values = {tag: [] for tag in known}
    for tag, cell in zip(values[tags], values[value], strict=True):
        if tag and tag.strip() in cells:
            cells[tag.strip()].append(cell)
    return cells


def _object(text: str) -> dict[str, Any]:
    try:
        payload = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return payload if isinstance(payload, dict) else {}


def _field(
    name: str, cells: list[str | None], marks: _Marks, unit: str, words: set[str], found: Guess
) -> None:
    given = _given(cells)
    texts = list(map(marks.plain, given))
    numbers = [float(text) for text in texts if _is_number(text)]
    if not given or (numbers and _is_counter(numbers)):
        found.unsure.append(f"The column {name!r} is left out: it is empty, or counts the rows.")
        return
    key = _identifier(name, found)
    known = len(given)
    others = {text for text in given if not _is_number(marks.plain(text))}
    are_words = len(others) <= FEW_WORDS and not any(re.search("[0-9]", each) for each in others)
    if _share(_is_number, texts) >= (HALF if are_words else MOST):
        known = len(numbers)
        words |= others
        found.fields[key] = _number(numbers, name, unit)
        if len(set(numbers)) == 1:
            found.unsure.append(f"{key} never varies in the first rows.")
    elif {text.lower() for text in given} in BOOLS:
        found.fields[key] = {"type": '"bool"'}
    elif len(set(given)) <= MAX_CATEGORIES:
        listed = ", ".join(map(toml, sorted(set(given))))
        found.fields[key] = {"type": '"category"', "categories": f"[{listed}]"}
        found.unsure.append(f"Has {key} more categories than the first rows show?")
    else:
        said = f"The column {name!r} is left out: it holds many texts{hint_for_json(given[0])}."
        found.unsure.append(said)
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


def _number(numbers: list[float], name: str, unit: str) -> dict[str, str]:
    if set(numbers) == {0, 1} and not unit:
        return {"type": '"bool"'}
    lowest, highest = min(numbers), max(numbers)
    margin = (highest - lowest or abs(highest) or 1) / 2
    named = re.search(r"[\[(](.+)[\])]\s*$", name)
    unit = unit or (named[1] if named else "")
    is_int = all(number.is_integer() for number in numbers)
    return {
        "type": '"int"' if is_int else '"float"',
        **({"unit": toml(unit)} if unit else {}),
        "range": f"[{lowest - margin:.4g}, {highest + margin:.4g}]",
    }


def _identifier(name: str, found: Guess) -> str:
    plain = name.strip('[]"') if found.is_json and name.startswith("[") else name
    if found.is_json:
        *parents, plain = plain.split(".")
        plain = parents[-1] if parents and plain.lower() in ("value", "val", "v") else plain
    plain = re.sub(r"[\[(].*[\])]\s*$", "", plain)
    decomposed = unicodedata.normalize("NFKD", plain.translate(IN_ASCII))
    plain = decomposed.encode("ascii", "ignore").decode()
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


def _is_counter(numbers: list[float]) -> bool:
    """Whether a column numbers the rows: it grows by the same step from row to row."""
    steps = {b - a for a, b in pairwise(numbers)}
    return len(numbers) > 2 and len(steps) == 1 and steps != {0.0}
