"""Payloads from columns: in the user's own database each field may have one."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.schema import Payload, SensorField
from breezeway.readings.arrow import as_text

_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
"""Of JSON."""
_ESCAPED = r"[\x00-\x1f\"\\\\]"
"""What no string of JSON holds as it is."""


def payloads(
    payload: Payload, fields: Mapping[str, SensorField], columns: Sequence[pa.Array]
) -> pa.Array:
    """JSON objects with the paths of the fields.

    A number stays as the database writes it; what is neither a number nor the list of a vector is a
    string, which preprocessing reads as it reads each.

    Args:
        payload: the form of payloads.
        fields: those of the contract, with keys alone in their paths.
        columns: the text of each field's column, binary (rows,).

    Returns:
        binary (rows,).
    """
    tree: dict[str, Any] = {}
    for (name, field), values in zip(fields.items(), columns, strict=True):
        *outer, last = map(str, field.segments(name, payload))
        inner = tree
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = _as_json(as_text(values), field)
    return pc.binary_join_element_wise(*_members(tree), "").cast(pa.binary())


def _members(tree: Mapping[str, Any]) -> list[Any]:
    parts: list[Any] = []
    for number, (key, inner) in enumerate(tree.items()):
        parts.append(f"{',' if number else '{'}{orjson.dumps(key).decode()}:")
        parts += _members(inner) if isinstance(inner, dict) else [inner]
    return [*parts, "}"]


def _as_json(text: pa.Array, field: SensorField) -> pa.Array:
    if field.type == "vector":
        plain = pc.starts_with(text, "[")
    elif field.type in ("category", "bool"):
        plain = pa.scalar(False)
    else:
        plain = pc.match_substring_regex(text, _NUMBER)
    if not pc.all(plain).as_py() or len(text) == text.null_count:
        text = pc.if_else(plain, text, _strings(text))
    return pc.fill_null(text, "null")


def _strings(text: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(text, _ESCAPED)).as_py():
        quoted = [None if v is None else orjson.dumps(v).decode() for v in text.to_pylist()]
        return pa.array(quoted, pa.string())
    return pc.binary_join_element_wise('"', text, '"', "")
