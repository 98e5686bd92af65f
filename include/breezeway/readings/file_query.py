"""The SELECT that makes readings of the rows of a file, and finds what is wrong in them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from breezeway.contract.contract import Contract
from breezeway.contract.parser import BYTE_ORDER_MARK
from breezeway.contract.paths import shown as path_text
from breezeway.contract.schema import SensorField
from breezeway.core.quoting import sql_string
from breezeway.readings import file_times
from breezeway.readings.file_columns import Columns, guess_separator, joined
from breezeway.readings.file_mistakes import Mistake, Mistakes, shown
from breezeway.readings.file_payloads import (
    NULL,
    NUMBER,
    Cells,
    find_cells,
    is_good,
    is_null,
    json_value,
    null_numbers,
    null_words,
    object_of_json,
    payload_sql,
    quality_of,
)
from breezeway.readings.file_splitting import OWN
from breezeway.readings.file_text import PlainFile, stem

TEXT = "VARCHAR"
LABELS = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}
KEPT_LETTERS = 200
"""Of a wrong value, for the message."""
ONE_DEVICE = ' or, for one machine, device = "NAME"'


@dataclass(frozen=True)
class Query:
    """What is asked of DuckDB, and where each value is found in the file."""

    sql: str
    columns: dict[str, str]
    fields: dict[str, SensorField]
    is_local: bool
    is_split: bool


def query_of(
    plain: PlainFile,
    contract: Contract,
    device: str | None,
    columns: Columns,
    mistakes: Mistakes,
) -> Query | None:
    """The SELECT; None if a column is not there, which is a mistake."""
    files = contract.files
    before = mistakes.count
    find = _Finder(plain, contract, columns, mistakes)
    is_split = contract.payload.holds_readings and _is_whole(contract, columns)
    inner = {"d": _device(plain, contract, device, columns, find, is_split) or NULL}
    timed, kind = None, TEXT
    has_times = files.first_time is None and not (is_split and contract.payload.time_path)
    if has_times:
        timed, kind = find.time()
    inner["t"] = f"trim({timed})" if timed else "NULL"
    inner["l"] = find.label() or "NULL"
    payload, cells = _payload(contract, columns, find)
    if mistakes.count > before:
        return None
    stamp, local = file_times.stamp_sql("t", kind, files) if has_times else ("0", "false")
    inner |= {f"f {name}": cell for name, cell in cells.texts.items()}
    label, is_label = _label_sql(contract)
    values = {f"v {name}": value for name, value in cells.values.items()}
    is_text = plain.format == "csv"
    left_out = _left_out(find.times, columns) if is_text and timed else "false"
    middle = {
        "left_out": left_out,
        "device": "CASE WHEN d <> '' THEN d END",
        "stamp": file_times.bounded(stamp),
        "is_local": local,
        "label": label,
        "is_label": is_label,
        **values,
    }
    wrong = f"CASE WHEN NOT left_out THEN {_wrong_sql(cells, columns, is_split)} END"
    is_local = files.time_zone != "UTC"
    outer = {
        "device": "device",
        "time": "stamp",
        "payload": payload,
        "label": "label",
        "wrong": wrong,
        "left_out": "left_out",
        "begins": f"CASE WHEN stamp IS NULL THEN {_begins(columns)} END" if is_text else "NULL",
        "is_local": "is_local" if is_local else "NULL",
        "said": "t" if is_local else "NULL",
        "field": '"f field"' if files.tag_column else "NULL",
    }
    sql = (
        f"SELECT {_aliased(outer)} FROM (SELECT *, {_aliased(middle)} FROM "
        f"(SELECT *, {_aliased(inner)} FROM {columns.relation}))"
    )
    where = {"device": files.device_column, "time": ", ".join(find.times)} | cells.columns
    where["label"] = files.label_column or ""
    fields = dict(contract.fields)
    return Query(sql, where, fields, is_local, is_split)


def _aliased(columns: dict[str, str]) -> str:
    return ", ".join(f'{sql} AS "{name}"' for name, sql in columns.items())


def _left_out(times: list[str], columns: Columns) -> str:
    """The SQL that tells rows without a value, and the header where it comes again."""
    all_cells = ", ".join(f"c{place}" for place in range(len(columns.names)))
    names = " ".join(columns.names[columns.place(name)].strip() for name in times)
    around = sql_string(f'{BYTE_ORDER_MARK} "')  # within a file, quotes behind a mark stay
    return (
        f"CASE WHEN t IS NULL OR t = '' THEN trim(concat({all_cells})) = '' "
        f"WHEN ends_with(rtrim(t, {around}), {sql_string(names)}) "
        f"THEN trim(t, {around}) = {sql_string(names)} ELSE false END"
    )


def _begins(columns: Columns) -> str:
    """The SQL of the first cells of a row that have a value."""
    cells = ", ".join(f"nullif(trim(c{place}), '')" for place in range(len(columns.names))[:3])
    return f"left(coalesce({cells}), {KEPT_LETTERS})"


def _device(
    plain: PlainFile,
    contract: Contract,
    device: str | None,
    columns: Columns,
    find: "_Finder",
    is_split: bool,
) -> str | None:
    """The SQL of the device's name."""
    if named := device or contract.files.device:
        return _device_name(plain.file, named)
    has_own = is_split and contract.payload.device_path
    if has_own and not columns.has(contract.files.device_column):
        return sql_string(OWN)
    cell = find.cell("device_column", ONE_DEVICE)
    return f"coalesce(nullif({cell}, ''), {sql_string(OWN)})" if has_own and cell else cell


def _device_name(file: Path, template: str) -> str:
    folder = file.resolve().parent.name
    return sql_string(template.replace("{file}", stem(file)).replace("{folder}", folder))


class _Finder:
    """Finds the columns that the contract names, and tells of those that are not there."""

    def __init__(self, plain: PlainFile, contract: Contract, columns: Columns, mistakes: Mistakes):
        self._file = plain.file
        self._files = contract.files
        names = self._files.time_column
        self.times = [names] if isinstance(names, str) else list(names)
        self._columns = columns
        self._mistakes = mistakes
        self._separator = (
            guess_separator(columns.names, plain.separator) if plain.format == "csv" else ""
        )

    def cell(self, key: str, more: str = "") -> str | None:
        """The column that a setting names."""
        return self.named(getattr(self._files, key), f"{key} = …{more}")

    def named(self, name: str, setting: str) -> str | None:
        """The SQL of a column's cell; None if there is no such column, or several."""
        try:
            return self._columns.cell(name)
        except KeyError:
            said = f"the column {shown(name)} is missing; {self._columns.near(name)}"
            mistake = Mistake(self._file, said, setting=self._separator or setting)
        except ValueError as error:
            mistake = Mistake(self._file, f"{error}", column=name, setting="names and skip_rows")
        if not (self._separator and self._mistakes.has(mistake)):
            self._mistakes.add(mistake)
        return None

    def time(self) -> tuple[str | None, str]:
        """The SQL of the time as text, and the SQL type of its column."""
        cells = [self.named(name, "time_column = …") for name in self.times]
        if None in cells:
            return None, TEXT
        if len(cells) > 1:
            return f"concat_ws(' ', {', '.join(f'trim({cell})' for cell in cells)})", TEXT
        return cells[0], self._columns.type_of(self.times[0])

    def label(self) -> str | None:
        name = self._files.label_column
        if name is None or not (self._files.label_required or self._columns.has(name)):
            path = f"{self._file.resolve().parent.name}/{self._file.name}"
            return "'0'" if any(fnmatchcase(path, p) for p in self._files.normal_files) else None
        return self.named(name, "label_column = … or label_required = false")


def _payload_column(contract: Contract, columns: Columns) -> str | None:
    """The column of the payload; what has none, JSON too, has one for each field."""
    files = contract.files
    if files.payload_column or files.tag_column or "payload" in contract.fields:
        return files.payload_column
    return "payload" if "payload" in [n.strip() for n in columns.names] else None


def _is_whole(contract: Contract, columns: Columns) -> bool:
    """Whether payloads are in the file as they were sent."""
    is_line = columns.is_json and not contract.files.tag_column
    return is_line or _payload_column(contract, columns) is not None


def _payload(contract: Contract, columns: Columns, find: _Finder) -> tuple[str, Cells]:
    files = contract.files
    nothing = Cells({}, {}, {})
    if (one := _payload_column(contract, columns)) is not None:
        cell = find.named(one, "payload_column = …")
        return cell or NULL, nothing
    if files.tag_column:
        return _value_of_tag(contract, find)
    if columns.is_json and contract.payload.holds_readings:
        return "CAST(j AS VARCHAR)", nothing
    if columns.is_json:
        is_object = "json_type(j) = 'OBJECT'"
        return f"CASE WHEN {is_object} THEN {object_of_json(contract)} END", nothing
    cells = find_cells(contract, columns, find.named)
    return payload_sql(
        contract, {name: f'"v {name}"' for name in (*contract.fields, *cells.values)}
    ), cells


def _value_of_tag(contract: Contract, find: _Finder) -> tuple[str, Cells]:
    files = contract.files
    tag = find.cell("tag_column")
    value = find.cell("value_column")
    if not (tag and value):
        return NULL, Cells({}, {}, {})
    kinds: dict[str, list[int]] = {}
    places, values = [], []
    texts: dict[str, str] = {}
    for place, (name, field) in enumerate(contract.fields.items()):
        tags = {files.columns.get(name) or name, files.columns.get(name) or _path(name, contract)}
        places += [f"WHEN {sql_string(each)} THEN {place}" for each in sorted(tags)]
        sql = json_value('"f value"', field, contract)
        if field.quality and (cell := find.named(field.quality.path, "quality.path = …")):
            texts[quality_of(field.quality.path)] = cell
            quality = f'"f {quality_of(field.quality.path)}"'
            sql = f"CASE WHEN {is_good(quality, field.quality)} THEN {sql} ELSE {NULL} END"
        kinds.setdefault(sql, []).append(place)
    for sql, wanted in kinds.items():
        values.append(f'WHEN "f field" IN ({", ".join(map(str, wanted))}) THEN {sql}')
    cells = Cells(
        {"field": f"CASE trim({tag}) {' '.join(places)} END", "value": value} | texts,
        {"value": f"CASE {' '.join(values)} ELSE {NULL} END"},
        {"value": files.value_column},
    )
    return '"v value"', cells


def _path(name: str, contract: Contract) -> str:
    return path_text(contract.fields[name].segments(name, contract.payload))


def _label_sql(contract: Contract) -> tuple[str, str]:
    """The label, and whether it is one."""
    files = contract.files
    text = "coalesce(trim(l), '')" if "" in files.normal else "trim(l)"
    told = _lower((*files.faults, *files.normal))
    words = [word for word in null_words(contract) if word not in told]
    nothing = is_null(text, words, null_numbers(contract))
    if not files.faults:
        known = " ".join(f"WHEN {sql_string(k)} THEN {v}" for k, v in LABELS.items())
        return f"CASE {text} {known} END", f"({text} IN ({_listed(LABELS)}) OR {nothing})"
    faults, normal = (_one_of(text, words) for words in (files.faults, files.normal))
    label = f"CASE WHEN {faults} THEN 1 WHEN {nothing} THEN NULL ELSE 0 END"
    return label, f"({faults} OR {normal} OR {nothing})" if files.normal else "true"


def _one_of(text: str, words: Iterable[str]) -> str:
    """Whether a label is one of some words, in upper or lower case; 1.0 is 1."""
    numbers = []
    for word in words:
        if re.fullmatch(NUMBER, word.strip()):
            numbers.append(word.strip())
    as_number = f" OR TRY_CAST({text} AS DOUBLE) IN ({', '.join(numbers)})" if numbers else ""
    return f"coalesce(lower({text}) IN ({_listed(sorted(_lower(words)))}){as_number}, false)"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(sql_string, words)) or "NULL"


def _lower(words: Iterable[str]) -> set[str]:
    return {word.strip().lower() for word in words}


def _wrong_sql(cells: Cells, columns: Columns, is_split: bool) -> str:
    """What is wrong in a row, as JSON: pairs of what it is and what the file has, each with a comma
    behind it; null if nothing is."""
    checks = {
        "device": ("device IS NULL", "d"),
        "time": ("stamp IS NULL", "t"),
        "label": ("NOT is_label", "l"),
    }
    checks |= {f"={name}": (f'"v {name}" IS NULL', f'"f {name}"') for name in cells.values}
    if columns.is_json:
        kinds = "('OBJECT', 'ARRAY')" if is_split else "('OBJECT')"
        is_object = f"coalesce(json_type(j) IN {kinds}, false)"
        checks = {w: (f"{is_object} AND {wrong}", text) for w, (wrong, text) in checks.items()}
        checks["object"] = (f"NOT {is_object}", "left(CAST(j AS VARCHAR), 100)")
    parts = [
        f"CASE WHEN {wrong} THEN {sql_string(f'["{what}",')} || "
        f"coalesce(CAST(to_json(left({text}, {KEPT_LETTERS})) AS VARCHAR), 'null') || '],' END"
        for what, (wrong, text) in checks.items()
    ]
    any_of = joined([f"({wrong})" for wrong, _ in checks.values()], "OR")
    return f"CASE WHEN {any_of} THEN concat({', '.join(parts)}) END"
