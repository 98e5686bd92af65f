"""Parses the payload of one reading: the definition that every faster parser must equal."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import orjson

from breezeway.contract.schema import Payload, SensorField
from breezeway.core.errors import DataError

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""A number in a delimited payload: ASCII, no blanks, no NaN and no infinity."""

BYTE_ORDER_MARK = "\ufeff"
"""Some devices send it before the text."""
MAX_PAYLOAD_BYTES = 1 << 20
"""Bytes (UTF-8) of a payload: 50,000 numbers, say. It bounds all that a payload holds: vectors,
texts, depth."""


class Violation(DataError):
    """A reading that breaks the contract.

    Args:
        field: the contract's field, or `payload`, `device`, `time`, `label`.
        reason: one of a few stable words; quarantined rows are counted by it.
        message: one sentence for a person.
    """

    def __init__(self, field: str, reason: str, message: str):
        super().__init__(message)
        self.field = field
        self.reason = reason

    def to_keep(self) -> Self:
        """This violation without its traceback, which keeps all variables of its frames alive."""
        self.__context__ = None
        return self.with_traceback(None)


class ReadingParser:
    """Reads payloads one by one, by the fields of one contract.

    Args:
        payload: defines the format.
        fields: by name, in the contract's order.
    """

    def __init__(self, payload: Payload, fields: Mapping[str, SensorField]):
        self._payload = payload
        checks = {"category": _check_category, "vector": _check_vector}
        self._fields: list[tuple[str, SensorField, Callable[..., Any]]] = [
            (name, field, checks.get(field.type, _check_number)) for name, field in fields.items()
        ]
        self._paths = [(name, field, field.keys(name)) for name, field in fields.items()]
        self._missing = dict.fromkeys(fields, math.nan)

    def parse(self, payload: str | None, flagged: list[Violation] | None = None) -> dict[str, Any]:
        """The values of one reading: the definition that every faster parser must equal.

        Args:
            payload: as it was sent.
            flagged: if given, a field whose `serving` is "flag" does not refuse the reading; its
                violation is appended here and its value is NaN.

        Returns:
            For each field a float, the position of a category in `categories` as a float, a
            float64 array of shape (elements,), or NaN for an allowed null.

        Raises:
            Violation: the first field, in the contract's order, that breaks the contract.
        """
        if payload is None:
            raise Violation("payload", "null_payload", "payload: null, expected a string")
        if 4 * len(payload) > MAX_PAYLOAD_BYTES:  # a character has up to four bytes
            _check_length(payload)
        payload = payload.removeprefix(BYTE_ORDER_MARK)
        if self._payload.format == "json":
            raw = self._json_values(payload, flagged)
        else:
            raw = self._delimited_values(payload)
        values: dict[str, Any] = self._missing.copy()
        for name, field, check in self._fields:
            if name in raw:
                try:
                    value = raw[name]
                    values[name] = (
                        check(name, field, value) if value is not None else _null(name, field)
                    )
                except Violation as violation:
                    _flag(field, violation, flagged)
        return values

    def _json_values(self, payload: str, flagged: list[Violation] | None) -> dict[str, Any]:
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise Violation("payload", "not_json", f"payload: not JSON: {error}") from None
        if not isinstance(document, dict):
            raise Violation("payload", "not_json", "payload: not a JSON object")
        values = {}
        for name, field, path in self._paths:
            value: Any = document
            for key in path:
                if not isinstance(value, dict) or key not in value:
                    where = ".".join(path)
                    missing = Violation(name, "missing", f"{name}: no {where!r} in the payload")
                    _flag(field, missing, flagged)
                    break
                value = value[key]
            else:
                values[name] = value
        return values

    def _delimited_values(self, payload: str) -> dict[str, Any]:
        parts = payload.split(self._payload.separator)
        if len(parts) != len(self._fields):
            raise Violation(
                "payload",
                "wrong_count",
                f"payload: {len(parts)} values, expected {len(self._fields)} "
                f"separated by {self._payload.separator!r}",
            )
        values: dict[str, Any] = {}
        for (name, field, _), part in zip(self._fields, parts, strict=True):
            if part == "":
                values[name] = None
            elif field.type == "category":
                values[name] = part
            else:
                values[name] = float(part) if NUMBER.fullmatch(part) else part
        return values


def _check_length(payload: str) -> None:
    size = len(payload.encode(errors="surrogatepass"))
    if size > MAX_PAYLOAD_BYTES:
        raise Violation(
            "payload",
            "too_long",
            f"payload: {size} bytes, expected at most {MAX_PAYLOAD_BYTES}",
        )


def _check_category(name: str, field: SensorField, value: Any) -> float:
    if not isinstance(value, str):
        raise Violation(name, "wrong_type", f"{name}: {_shown(value)}, expected a string")
    if value not in field.categories:
        known = ", ".join(field.categories)
        raise Violation(
            name, "unknown_category", f"{name}: {_shown(value)}, expected one of {known}"
        )
    return float(field.categories.index(value))


def _check_number(name: str, field: SensorField, value: Any) -> float:
    if type(value) is not float and type(value) is not int:  # a bool is an int to isinstance
        raise Violation(name, "wrong_type", f"{name}: {_shown(value)}, expected a number")
    number = float(value)
    if not math.isfinite(number):
        raise Violation(name, "wrong_type", f"{name}: {_shown(value)} is not finite")
    if field.type == "int" and not number.is_integer():
        raise Violation(name, "wrong_type", f"{name}: {_shown(value)}, expected an integer")
    limits = field.range
    if limits and not limits[0] <= number <= limits[1]:
        raise Violation(
            name,
            "out_of_range",
            f"{name}: {number!r} {field.unit}".rstrip()
            + f" is outside {limits[0]!r} to {limits[1]!r}",
        )
    return number


def _check_vector(name: str, field: SensorField, value: Any) -> np.ndarray:
    if not isinstance(value, list):
        raise Violation(name, "wrong_type", f"{name}: {_shown(value)}, expected a list")
    if not field.length[0] <= len(value) <= field.length[1]:
        raise Violation(
            name,
            "length",
            f"{name}: {len(value)} elements, expected {field.length[0]} to {field.length[1]}",
        )
    lowest, highest = field.range or (-math.inf, math.inf)
    if set(map(type, value)) <= {int, float}:  # no bool, no null, no string
        elements = list(map(float, value))
        if min(elements) >= lowest and max(elements) <= highest:
            return np.array(elements)
    for position, element in enumerate(value):
        try:
            _check_number(f"{name}[{position}]", field, element)
        except Violation as violation:
            raise Violation(name, violation.reason, str(violation)) from None
    raise AssertionError("a vector out of bounds has an element out of bounds")


def _null(name: str, field: SensorField) -> float:
    if field.nulls == "reject":
        raise Violation(name, "null", f"{name}: null, expected a {field.type}")
    return math.nan


def _flag(field: SensorField, violation: Violation, flagged: list[Violation] | None) -> None:
    if flagged is None or field.serving == "reject":
        raise violation
    flagged.append(violation)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
