"""Parses the payload of one reading: the definition that every faster parser must equal."""

import csv
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from breezeway.contract.other_forms import hint_for_delimited, hint_for_json
from breezeway.contract.paths import Each, NoValue, find, shown, spread
from breezeway.contract.quality import QualityReader
from breezeway.contract.schema import Payload, SensorField
from breezeway.contract.values import MISSING_VECTOR, ValueReader, Violation

BYTE_ORDER_MARK = "\ufeff"
"""Some devices send it before the text."""
MAX_PAYLOAD_BYTES = 1 << 20
"""Bytes (UTF-8) of a payload: 50,000 numbers, say. It bounds all that a payload holds: vectors,
texts, depth."""

_NAN = re.compile(r'"(?:[^"\\]|\\.)*"?|[-+]?\b(?:nan|NaN|NAN)\b', re.DOTALL)
"""A string, even without its end, or a bare NaN. At a quote it always matches, so that the time for
a text grows with its length alone."""


class ReadingParser:
    """Reads payloads one by one, by the fields of one contract.

    Args:
        payload: defines the format.
        fields: by name, in the contract's order.

    Attributes:
        readers: what reads the value of each field.
        qualities: what reads the quality of each field that has one.
    """

    def __init__(self, payload: Payload, fields: Mapping[str, SensorField]):
        self._payload, self._rules = payload, fields
        self.readers = {name: ValueReader(name, field, payload) for name, field in fields.items()}
        self.qualities = {
            name: QualityReader(name, field, payload)
            for name, field in fields.items()
            if field.quality
        }
        self._fields = [(name, field, self.readers[name]) for name, field in fields.items()]
        self._paths = [
            (name, field, field.segments(name, payload)) for name, field in fields.items()
        ]
        firsts = {type(path[0]) for _, _, path in self._paths if path}
        self._root: Any = dict if str in firsts else (list, dict) if Each in firsts else list
        self._to_reading = payload.to_reading
        self._missing = {
            name: MISSING_VECTOR if field.type == "vector" else math.nan
            for name, field in fields.items()
        }

    def parse(self, payload: str | None, missing: list[Violation] | None = None) -> dict[str, Any]:
        """The values of one reading: the definition that every faster parser must equal.

        Args:
            payload: as it was sent.
            missing: if given, extended by what is wrong with each value that counts as missing
                because the contract says `invalid = "missing"`. A null is not wrong there.

        Returns:
            For each field a float, the position of a category in `categories` as a float, a
            float64 array of shape (elements,), or NaN for a missing value; of a missing vector
            the array is one NaN.

        Raises:
            Violation: the first field, in the contract's order, that breaks the contract.
        """
        payload = checked_text(payload)
        if missing is None:
            missing = []
        if self._payload.format == "json":
            raw = self._json_values(payload, missing)
        else:
            raw = self._delimited_values(payload)
            self._check_qualities(missing, raw, QualityReader.check_delimited, raw.copy())
        return self._read(raw, missing)

    def _read(self, raw: Mapping[str, Any], missing: list[Violation]) -> dict[str, Any]:
        """The values of the fields that a payload has, and those that are missing."""
        values: dict[str, Any] = self._missing.copy()
        for name, field, reader in self._fields:
            if name in raw:
                number = raw[name]
                if type(number) is float and reader.lowest <= number <= reader.highest:
                    values[name] = number  # most are such
                    continue
                try:
                    value = reader.read(raw[name], missing)
                except Violation as violation:
                    _accept(field, violation, missing)
                else:
                    if value is not None:
                        values[name] = value
        return values

    def _json_values(self, payload: str, missing: list[Violation]) -> dict[str, Any]:
        document = read_json(payload)
        if not isinstance(document, self._root):
            what = "object" if self._root is dict else "list"
            raise Violation("payload", "not_json", f"payload: not a JSON {what}")
        if self._to_reading and (count := self._count(document)) != 1:
            raise Violation(
                "payload",
                "several_readings" if count else "no_readings",
                f"payload: {count} readings at {shown(self._to_reading)!r}, expected one",
            )
        values = {}
        for name, field, path in self._paths:
            key = path[0]
            if len(path) == 1 and type(key) is str and key in document:
                values[name] = document[key]
                continue
            try:
                values[name] = find(document, path)
            except NoValue as error:
                _accept(field, Violation(name, error.reason, f"{name}: {error}"), missing)
        self._check_qualities(missing, values, QualityReader.check_json, document)
        return values

    def _check_qualities(
        self,
        missing: list[Violation],
        values: dict[str, Any],
        check: Callable[[QualityReader, Any], None],
        sent: Any,
    ) -> None:
        """Take away the values of which a payload says that they are not good."""
        for name, quality in self.qualities.items():
            if name in values:
                try:
                    check(quality, sent)
                except Violation as violation:
                    _accept(self._rules[name], violation, missing)
                    del values[name]

    def _count(self, document: Any) -> int:
        """The readings that a document holds."""
        try:
            return sum(1 for _ in spread(document, self._to_reading))
        except NoValue:
            return 0

    def _delimited_values(self, payload: str) -> dict[str, Any]:
        text, expected = payload.strip("\r\n"), len(self._fields)
        separator = self._payload.separator
        if self._payload.quote:
            parts = _unquoted(text, separator, self._payload.quote)
        else:
            parts = text.split(separator)
        if len(parts) == expected + 1 and not parts[-1].strip():
            del parts[-1]  # each value with a separator behind it
        if len(parts) != expected:
            raise Violation(
                "payload",
                "wrong_count",
                f"payload: {len(parts)} values, expected {expected} separated by {separator!r}"
                f"{hint_for_delimited(text, separator, expected)}",
            )
        names = (name for name, _, _ in self._fields)
        return {n: part.strip() or None for n, part in zip(names, parts, strict=True)}


def checked_text(payload: str | None) -> str:
    """A payload without a byte order mark.

    Raises:
        Violation: it is null, or too long.
    """
    if payload is None:
        raise Violation("payload", "null_payload", "payload: null, expected a string")
    if 4 * len(payload) > MAX_PAYLOAD_BYTES:  # a character has up to four bytes
        _check_length(payload)
    return payload.removeprefix(BYTE_ORDER_MARK)


def read_json(text: str) -> Any:
    """A payload as it was meant: a bare NaN is a null.

    Raises:
        Violation: it is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:  # some devices write NaN for a value that they do not have
            return orjson.loads(_NAN.sub(_null_for_nan, text))
        except orjson.JSONDecodeError:
            said = f"payload: not JSON: {error}{hint_for_json(text)}"
            raise Violation("payload", "not_json", said) from None


def _null_for_nan(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else "null"


def _unquoted(text: str, separator: str, quote: str) -> list[str]:
    """The values of a text in which a value may stand in quotes."""
    try:
        rows = list(csv.reader([text], delimiter=separator, quotechar=quote, strict=True))
    except csv.Error as error:
        raise Violation("payload", "wrong_quotes", f"payload: {error}") from None
    return (rows and rows[0]) or [""]


def _check_length(payload: str) -> None:
    size = len(payload.encode(errors="surrogatepass"))
    if size > MAX_PAYLOAD_BYTES:
        raise Violation(
            "payload",
            "too_long",
            f"payload: {size} bytes, expected at most {MAX_PAYLOAD_BYTES}",
        )


def _accept(field: SensorField, violation: Violation, missing: list[Violation]) -> None:
    """Let the value count as missing, if the contract says so.

    Raises:
        Violation: it does not.
    """
    if field.invalid == "reject":
        raise violation
    if violation.reason != "null":
        missing.append(violation)
