"""The SQL that makes the payload of a reading from the cells of a row."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from breezeway.contract.contract import Contract
from breezeway.contract.files import NULL_WORDS, Files
from breezeway.contract.other_forms import is_hexadecimal
from breezeway.contract.paths import Segment
from breezeway.contract.paths import shown as path_text
from breezeway.contract.quality import told
from breezeway.contract.schema import Quality, SensorField
from breezeway.contract.values import BETWEEN_GROUPS, grouped, marks_of
from breezeway.core.errors import UsageError
from breezeway.core.quoting import json_pointer, sql_string
from breezeway.readings.file_columns import Columns, joined
from breezeway.readings.file_mistakes import shown, toml

JSON_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
NULL = "'null'"


@dataclass(frozen=True)
class Cells:
    """The values of a row, as SQL.

    Attributes:
        texts: name of a value → the cell.
        values: name of a value → it as JSON; null where the cell holds no number.
        columns: name of a value → the column, for messages.
    """

    texts: dict[str, str]
    values: dict[str, str]
    columns: dict[str, str]


def null_words(contract: Contract, field: SensorField | None = None) -> list[str]:
    """In small letters; what a field has as a category is a value."""
    given = [*contract.files.null_words, *contract.payload.null_values]
    given += field.null_values if field else ()
    words = NULL_WORDS | {word.strip().lower() for word in given if isinstance(word, str)}
    return sorted(words - {category.lower() for category in (field.categories if field else ())})


def null_numbers(contract: Contract, field: SensorField | None = None) -> list[float]:
    """The numbers that stand for no value, where a cell is no number to the contract."""
    given = [*contract.payload.null_values, *(field.null_values if field else ())]
    return [float(value) for value in given if not isinstance(value, str)]


def keys_of(name: str, contract: Contract) -> list[str]:
    """The keys that lead to a field's value in a payload that is made from columns.

    Raises:
        UsageError: the path leads into a list.
    """
    return _keys(f"fields.{name}.path", contract.fields[name].segments(name, contract.payload))


def _keys(place: str, path: Sequence[Segment]) -> list[str]:
    keys = [key for key in path if isinstance(key, str)]
    if len(keys) < len(path):
        raise UsageError(
            f"{place}: {path_text(path)!r} leads into a list, and no list can be made "
            "from columns: expected keys, or files with the payload in one column "
            "(payload_column)."
        )
    return keys


def is_null(text: str, words: Iterable[str], numbers: Sequence[float]) -> str:
    """The SQL that tells whether a cell holds no value."""
    found = f"{text} IS NULL OR lower({text}) IN ({', '.join(map(sql_string, words))})"
    if numbers:
        number = f"regexp_full_match({text}, {sql_string(NUMBER)}) AND TRY_CAST({text} AS DOUBLE)"
        found += f" OR ({number} IN ({', '.join(map(repr, numbers))}))"
    return f"({found})"


def json_value(cell: str, field: SensorField, contract: Contract) -> str:
    """The SQL of a cell as JSON.

    A number is as the file writes it, if it is one in JSON; null if it is no number at all.
    """
    text = f"trim({cell})"
    words = null_words(contract, field)
    # What the parser will read as a number, it compares itself.
    numbers = null_numbers(contract, field) if field.type in ("category", "bool") else []
    nothing = f"WHEN {is_null(text, words, numbers)} THEN {NULL}"
    if field.type == "category":
        known = ", ".join(map(sql_string, field.categories))
        return (
            f"CASE WHEN {cell} IN ({known}) THEN CAST(to_json({cell}) AS VARCHAR) "
            f"WHEN {text} IN ({known}) THEN CAST(to_json({text}) AS VARCHAR) {nothing} "
            f"WHEN regexp_full_match({text}, {sql_string(JSON_NUMBER)}) THEN {text} "
            f"ELSE CAST(to_json({cell}) AS VARCHAR) END"
        )
    if field.type == "vector":
        return (
            f"CASE {nothing} WHEN left({text}, 1) = '[' AND json_valid({text}) THEN {text} "
            f"ELSE CAST(to_json({cell}) AS VARCHAR) END"
        )
    if field.type == "bool":
        return f"CASE {nothing} ELSE CAST(to_json({text}) AS VARCHAR) END"
    if field.unit:
        unit = sql_string(field.unit)
        bare = f"rtrim(left({text}, length({text}) - length({unit})))"
        text = f"CASE WHEN ends_with({text}, {unit}) THEN {bare} ELSE {text} END"
    return _number(text, nothing, contract.files)


def _number(text: str, nothing: str, files: Files) -> str:
    # Words that look like numbers have to be asked for first, for every cell.
    numeric = any(re.fullmatch(NUMBER.replace(r"\.", "[.,]"), w.strip()) for w in files.null_words)
    number = text
    if files.thousands:
        pattern = sql_string(grouped(files.thousands, files.decimal))
        between = sql_string(BETWEEN_GROUPS[files.thousands])
        number = (
            f"CASE WHEN regexp_full_match({text}, {pattern}) "
            f"THEN regexp_replace({text}, {between}, '', 'g') ELSE {text} END"
        )
    if files.decimal == ",":
        number = f"CASE WHEN NOT contains({number}, '.') THEN replace({number}, ',', '.') END"
    plain = f"ltrim(regexp_replace({number}, '^([+-]?)0+([0-9])', '\\1\\2'), '+')"
    is_json, is_number = (
        f"regexp_full_match({{}}, {sql_string(pattern)})" for pattern in (JSON_NUMBER, NUMBER)
    )
    return (
        f"CASE {nothing if numeric else ''} WHEN {is_json.format(number)} THEN {number} "
        f"{nothing} WHEN NOT {is_number.format(number)} THEN NULL "
        f"WHEN {is_json.format(plain)} THEN {plain} "
        f"ELSE CAST(TRY_CAST({number} AS DOUBLE) AS VARCHAR) END"
    )


def find_cells(
    contract: Contract, columns: Columns, find: Callable[[str, str], str | None]
) -> Cells:
    """The cells of the contract's fields, where each has a column of its own.

    Args:
        find: called with the name of a column and the setting that names another; gives the SQL of
            its cell, or None.
    """
    cells = Cells({}, {}, {})
    for name, field in contract.fields.items():
        column = _column_of(name, columns, contract)
        cell = find(column, f"{name} = … in [files.columns]")
        if cell is not None:
            cells.columns[name] = column
            cells.texts[name] = cell
            cells.values[name] = json_value(_quoted(name), field, contract)
        if field.quality and contract.payload.format == "json":
            _find_quality(name, field.quality, columns, cells, find)
    return cells


def quality_of(name: str) -> str:
    """What the quality of a field is called among the values of a row."""
    return f"{name} quality"


def _find_quality(
    name: str,
    quality: Quality,
    columns: Columns,
    cells: Cells,
    find: Callable[[str, str], str | None],
) -> None:
    """The cell of a field's quality; its column may only be missing where it is not required."""
    if quality.required or columns.has(quality.path):
        cell = find(quality.path, f"fields.{name}.quality.path")
        if cell is not None:
            key = quality_of(name)
            cells.columns[key], cells.texts[key] = quality.path, f"nullif(trim({cell}), '')"
            cells.values[key] = f"coalesce(CAST(to_json({_quoted(key)}) AS VARCHAR), {NULL})"


def is_good(text: str, quality: Quality) -> str:
    """The SQL that tells whether a quality is good."""
    good = [told(value) for value in quality.good_values]
    words = [sql_string(each) for each in good if isinstance(each, str)]
    numbers = [repr(each) for each in good if isinstance(each, float)]
    nothing = str(not quality.required).lower()
    return (
        f"coalesce(lower(trim({text})) IN ({', '.join(words) or 'NULL'}), false) OR "
        f"coalesce(TRY_CAST({text} AS DOUBLE) IN ({', '.join(numbers) or 'NULL'}), false) OR "
        f"(nullif(trim({text}), '') IS NULL AND {nothing})"
    )


def _column_of(name: str, columns: Columns, contract: Contract) -> str:
    if name in contract.files.columns:
        return contract.files.columns[name]
    path = path_text(contract.fields[name].segments(name, contract.payload))
    return path if not columns.has(name) and columns.has(path) else name


def _quoted(name: str) -> str:
    return f'"f {name}"'


def payload_sql(contract: Contract, values: Mapping[str, str]) -> str:
    """The payload of a reading; null if one of its values is.

    Args:
        values: field → the SQL of its value as JSON; and `quality_of` a field, if it is known.
    """
    if contract.payload.format == "json":
        return _object(contract, values)
    parts: list[str] = []
    for name, field in contract.fields.items():
        if parts:
            parts.append(sql_string(contract.payload.separator))
        if field.type in ("category", "bool"):
            parts.append(f"coalesce(json_extract_string({values[name]}, '$'), '')")
        else:
            parts.append(f"CASE WHEN {values[name]} = {NULL} THEN '' ELSE {values[name]} END")
    return joined(parts, "||")


def _object(contract: Contract, values: Mapping[str, str]) -> str:
    if contract.payload.holds_readings:
        raise UsageError(
            "payload.readings, records, time_path and device_path: a payload that is made of a "
            "file's columns is one reading, with the time and the device of its row: expected none "
            "of them, or files with the payload in one column (payload_column)."
        )
    tree: dict[str, Any] = {}
    for name in contract.fields:
        _put(tree, keys_of(name, contract), values[name])
    for name, field in contract.fields.items():
        if quality_of(name) in values:
            path = field.quality_segments(name, contract.payload)
            _put(tree, _keys(f"fields.{name}.quality.path", path), values[quality_of(name)])
    return _members(tree)


def _put(tree: dict[str, Any], keys: Sequence[str], value: str) -> None:
    """Put a value where keys lead to, if there is none: a quality may be a field too."""
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree.setdefault(keys[-1], value)


def _members(tree: Mapping[str, Any]) -> str:
    parts = []
    for number, (key, inner) in enumerate(tree.items()):
        parts.append(sql_string(f"{',' if number else '{'}{orjson.dumps(key).decode()}:"))
        parts.append(_members(inner) if isinstance(inner, dict) else inner)
    return joined([*parts, sql_string("}")], "||")


def object_of_json(contract: Contract) -> str:
    """The payload from a line of JSON: its members that hold the contract's fields."""
    keys = {}
    for name, field in contract.fields.items():
        first = field.segments(name, contract.payload)[0]
        if not isinstance(first, str):
            first = keys_of(name, contract)[0]
        keys[contract.files.columns.get(name, first)] = first
        if (path := field.quality_segments(name, contract.payload)) and isinstance(path[0], str):
            keys.setdefault(path[0], path[0])
    members = []
    for name in keys:
        found = f"json_extract(j, {sql_string(json_pointer([name]))})"
        key = sql_string(f"{orjson.dumps(keys[name]).decode()}:")
        members.append(f"CASE WHEN {found} IS NOT NULL THEN {key} || CAST({found} AS VARCHAR) END")
    return f"('{{' || concat_ws(',', {', '.join(members)}) || '}}')"


def expected_number(text: str, field: SensorField, files: Files) -> tuple[str, str]:
    """What is wrong with a cell, and the setting that would help."""
    said = f"expected a number, got {shown(text)}"
    trimmed = text.strip()
    other = {".": ",", ",": "."}[files.decimal]
    if files.decimal == "," and "." in trimmed:
        said = f"expected a number with a comma, got {shown(text)}"
    if re.fullmatch(NUMBER.replace(r"\.", re.escape(other)), trimmed):
        return said, f"decimal = {toml(other)}"
    if marks := marks_of(trimmed):
        return said, " and ".join(marks)
    if is_hexadecimal(trimmed):
        return f"{said}: hexadecimal? Expected a decimal number", ""
    if number := re.match(NUMBER.replace(r"\.", re.escape(files.decimal)), trimmed):
        unit = trimmed[number.end() :].strip()
        is_unit = 0 < len(unit) <= 10 and unit.isprintable() and not re.search("[0-9]", unit)
        return said, f"unit = {toml(unit)} for the field" if is_unit else ""
    if re.search("[0-9]", trimmed):
        return said, ""
    return said, f"null_words = [{toml(trimmed[:60])}] if it stands for no value"
