"""The first values of a file of JSON as columns, and where the readings stand in them."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import duckdb
import orjson

from breezeway.contract.paths import entered
from breezeway.readings.file_columns import file_literal, json_layout, read_json
from breezeway.readings.file_mistakes import toml
from breezeway.readings.file_text import MAX_LINE_BYTES, PlainFile

SIMPLE = re.compile(r"[^.*\[\]'\"$]+")
"""A key that a path has as it is."""
DEEPEST = 8


class JsonSample(NamedTuple):
    """The first readings of a file.

    Attributes:
        readings: where they stand in what was sent, if several were sent together.
        values: path of a value → its texts; null where it is none.
    """

    readings: str | None
    values: dict[str, list[str | None]]


def sample_json(plain: PlainFile, connection: duckdb.DuckDBPyConnection, rows: int) -> JsonSample:
    """Look at the first readings.

    Args:
        rows: the most that are looked at.
    """
    with plain.path.open("rb") as file:
        starts = [line.lstrip()[:1] for line in islice(file, 2) if len(line) < MAX_LINE_BYTES]
    layout = json_layout(plain, has_lists=starts == [b"[", b"["])
    table = read_json(file_literal(plain.path), layout)
    sent = connection.sql(f"SELECT CAST(json AS VARCHAR) FROM {table} LIMIT {rows}").fetchall()
    documents = [orjson.loads(text) for (text,) in sent]
    readings = _where(documents[0]) if documents else None
    found = [
        dict(_scalars(reading, "")) | dict(_scalars(beside, "$."))
        for document in documents
        for reading, beside in _readings(document, readings)
    ][:rows]
    names = dict.fromkeys(name for row in found for name in row)
    return JsonSample(readings, {name: [row.get(name) for row in found] for name in names})


def _where(document: Any) -> str | None:
    if _is_list(document):
        return "[*]"
    if not isinstance(document, dict):
        return None
    return next(
        (f"{k}[*]" for k, v in document.items() if SIMPLE.fullmatch(k) and _is_list(v)), None
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _readings(document: Any, where: str | None) -> Iterator[tuple[Any, Any]]:
    """Each reading, and what stands beside their list."""
    if where == "[*]":
        several, beside = document, {}
    elif where and isinstance(document, dict):
        key = where.removesuffix("[*]")
        several, beside = document.get(key), {k: v for k, v in document.items() if k != key}
    else:
        several, beside = [document], {}
    for reading in several if isinstance(several, list) else ():
        yield reading, beside


def _scalars(value: Any, prefix: str, depth: int = 0) -> Iterator[tuple[str, str | None]]:
    """Paths and texts of the members that are no lists, through objects."""
    if not isinstance(value, dict) or depth > DEEPEST:
        return
    for key, inner in value.items():
        inner = entered(inner) if isinstance(inner, str) else inner
        if not SIMPLE.fullmatch(key):
            if not prefix:
                yield f"[{toml(key)}]", _text(inner)
        elif isinstance(inner, dict):
            yield from _scalars(inner, f"{prefix}{key}.", depth + 1)
        elif not isinstance(inner, list):
            yield f"{prefix}{key}", _text(inner)


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None or isinstance(value, (dict, list)) else str(value)
