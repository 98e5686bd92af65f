"""`Contract.parse` for a whole column of payloads at once, with the same answers.

DuckDB extracts the values; it is more lenient than the contract, so a row is only taken from
it when a fingerprint of its text shows that the text has exactly the expected shape, and when
each value passes. Every other row goes through `Contract.parse`, which has the last word.

The fingerprint: each byte that cannot be part of a number has a random 64-bit weight, all
others weigh nothing. The sum over a payload is known beforehand from the contract, its
categories, its nulls and the lengths of its vectors. A quoted number, `true`, a duplicate or
unknown key, a trailing comma, `NaN`, an escape: each changes the sum. Every field must have been
found at its own key: `"a1"` weighs what `"a2"` weighs, so the sum alone does not tell them apart.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract import Contract, SensorField, Violation
from breezeway.expressions import Vectors

FINGERPRINT_ROWS = 4096
"""Rows whose weights are looked up at once; bounds the memory that takes."""


class PayloadParser:
    """Parses and checks columns of payloads by one contract.

    Args:
        contract: the sensor contract.
        threads: of DuckDB.
    """

    def __init__(self, contract: Contract, threads: int = 1):
        self._contract = contract
        self._json = contract.payload.format == "json"
        self._connection = duckdb.connect(config={"threads": threads})
        self._weights = np.random.default_rng(secrets.randbits(128)).integers(
            1, 2**63, size=256, dtype=np.uint64
        )
        weightless = b"0123456789+-.eE" + (b" \t\r\n" if self._json else b"")
        self._weights[list(weightless)] = 0
        self._select = self._json_select() if self._json else self._delimited_select()
        self._constant = self._weigh(self._template())

    def parse(
        self, payloads: pa.StringArray
    ) -> tuple[np.ndarray, dict[str, np.ndarray | Vectors], dict[int, Violation]]:
        """Parse and check.

        Args:
            payloads: of shape (rows,); null where a reading has none.

        Returns:
            Which rows are good (bool of shape (rows,)); the values of the good rows by field
            (float64 of shape (good rows,), or `Vectors`); for each other row what is wrong.
        """
        extracted = self._extract(payloads)
        sure = self._expected_fingerprint(extracted) == self._fingerprint(payloads)
        for name, field in self._contract.fields.items():
            sure &= self._passes(field, extracted[name])
        sure &= payloads.is_valid().to_numpy(zero_copy_only=False)
        slow: dict[int, dict[str, Any]] = {}
        violations: dict[int, Violation] = {}
        for row in np.flatnonzero(~sure).tolist():
            try:
                slow[row] = self._contract.parse(payloads[row].as_py())
            except Violation as violation:
                violations[row] = violation
        good = sure.copy()
        good[list(slow)] = True
        values = {
            name: self._merge(name, extracted[name], sure, good, slow)
            for name in self._contract.fields
        }
        return good, values, violations

    def _json_select(self) -> str:
        spec: dict[str, Any] = {}
        columns = []
        for name, field in self._contract.fields.items():
            path = self._contract.path(name)
            inner = spec
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = {"category": "JSON", "vector": ["DOUBLE"]}.get(field.type, "DOUBLE")
            value = "document" + "".join(f"[{_quoted(key)}]" for key in path)
            if field.nulls == "allow":
                # from_json gives NULL for a null and for a missing key alike.
                null = f"json_type(text, {_quoted(_json_pointer(path))}) = 'NULL'"
                known, missing = (
                    ("'null'", "NULL") if field.type == "category" else ("NULL", "'inf'")
                )
                value = (
                    f"CASE WHEN {value} IS NOT NULL THEN {value} "
                    f"WHEN {null} THEN {known} ELSE {missing} END"
                )
            columns.append(f'{value} AS "{name}"')
        spec_text = _quoted(orjson.dumps(spec).decode())
        return (
            f"SELECT {', '.join(columns)} FROM "
            f"(SELECT text, from_json(text, {spec_text}) AS document FROM "
            "(SELECT CASE WHEN json_valid(payload) THEN payload END AS text FROM payloads))"
        )

    def _delimited_select(self) -> str:
        columns = []
        for position, (name, field) in enumerate(self._contract.fields.items(), start=1):
            part = f"parts[{position}]"
            if field.type != "category":
                # An empty part is a null; a part that is no number must not look like one.
                number = f"coalesce(try_cast({part} AS DOUBLE), 'inf')"
                part = f"CASE WHEN {part} <> '' THEN {number} END"
            columns.append(f'{part} AS "{name}"')
        separator = _quoted(self._contract.payload.separator)
        return (
            f"SELECT {', '.join(columns)} FROM "
            f"(SELECT string_split(payload, {separator}) AS parts FROM payloads)"
        )

    def _template(self) -> bytes:
        """A payload without its categories, nulls, and commas inside vectors."""
        if not self._json:
            return self._contract.payload.separator.encode() * (len(self._contract.fields) - 1)
        document: dict[str, Any] = {}
        for name, field in self._contract.fields.items():
            path = self._contract.path(name)
            inner = document
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = [] if field.type == "vector" else 0
        return orjson.dumps(document)

    def _weigh(self, text: bytes) -> np.uint64:
        return self._weights[list(text)].sum(dtype=np.uint64)

    def _extract(self, payloads: pa.StringArray) -> dict[str, Any]:
        """Values by field as DuckDB sees them: numbers (null: NaN), categories' positions
        (null: -1, unknown: -2), or a list array."""
        table = pa.table({"payload": payloads})
        with self._connection.cursor() as cursor:
            cursor.register("payloads", table)
            found = cursor.sql(self._select).to_arrow_table().combine_chunks()
        return {name: self._as_values(name, found[name]) for name in self._contract.fields}

    def _as_values(self, name: str, column: pa.ChunkedArray) -> Any:
        field = self._contract.fields[name]
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if field.type == "vector":
            return array
        if field.type == "category":
            known = pa.array(self._category_texts(field), pa.string())
            code = pc.index_in(array.cast(pa.string()), value_set=known).fill_null(-2)
            if self._json:
                null = pc.equal(array.cast(pa.string()), "null").fill_null(False)
            else:
                null = pc.equal(array, "").fill_null(False)
            return np.where(null.to_numpy(zero_copy_only=False), -1, code.to_numpy())
        return array.fill_null(np.nan).to_numpy()

    def _category_texts(self, field: SensorField) -> list[str]:
        if self._json:
            return [orjson.dumps(category).decode() for category in field.categories]
        return field.categories

    def _expected_fingerprint(self, extracted: Mapping[str, Any]) -> np.ndarray:
        null = self._weigh(b"null") if self._json else np.uint64(0)
        comma = self._weights[ord(",")]
        expected: Any = self._constant
        for name, field in self._contract.fields.items():
            values = extracted[name]
            if field.type == "vector":
                lengths = pc.list_value_length(values).fill_null(1).to_numpy()
                commas = np.maximum(lengths - 1, 0).astype(np.uint64)
                expected = expected + commas * comma
            elif field.type == "category":
                texts = [self._weigh(text.encode()) for text in self._category_texts(field)]
                # positions -2 and -1 are the last two: unknown, null
                expected = expected + np.array([*texts, np.uint64(0), null])[values]
            else:
                expected = expected + np.isnan(values).astype(np.uint64) * null
        return expected

    def _fingerprint(self, payloads: pa.StringArray) -> np.ndarray:
        _, offsets, data = payloads.buffers()
        ends = np.frombuffer(offsets, np.int32)[payloads.offset :][: len(payloads) + 1]
        text = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        out = np.zeros(len(payloads), np.uint64)
        for start in range(0, len(payloads), FINGERPRINT_ROWS):
            bounds = ends[start : start + FINGERPRINT_ROWS + 1].astype(np.int64)
            weights = self._weights[text[bounds[0] : bounds[-1]]]
            filled = np.flatnonzero(np.diff(bounds))  # reduceat has no empty pieces
            if len(filled):
                out[start + filled] = np.add.reduceat(weights, bounds[filled] - bounds[0])
        return out

    def _passes(self, field: SensorField, values: Any) -> np.ndarray:
        lowest, highest = field.range or (-np.inf, np.inf)
        if field.type == "category":
            return values >= (-1 if field.nulls == "allow" else 0)
        if field.type == "vector":
            return _vectors_pass(values, lowest, highest, field.length)
        passes = np.isfinite(values) & (values >= lowest) & (values <= highest)
        if field.type == "int":
            passes &= np.floor(values) == values
        return np.where(np.isnan(values), field.nulls == "allow", passes)

    def _merge(
        self,
        name: str,
        extracted: Any,
        sure: np.ndarray,
        good: np.ndarray,
        slow: Mapping[int, Mapping[str, Any]],
    ) -> np.ndarray | Vectors:
        """The values of the good rows, in order, from either way."""
        field = self._contract.fields[name]
        if field.type == "vector":
            return self._merge_vectors(name, extracted, sure, good, slow)
        if field.type == "category":
            values = np.where(extracted >= 0, extracted.astype(np.float64), np.nan)
        else:
            values = extracted.copy()
        for row, reading in slow.items():
            values[row] = reading[name]
        return values[good]

    def _merge_vectors(
        self,
        name: str,
        extracted: pa.ListArray,
        sure: np.ndarray,
        good: np.ndarray,
        slow: Mapping[int, Mapping[str, Any]],
    ) -> Vectors:
        taken = extracted.filter(pa.array(sure))
        lengths = np.zeros(len(good), np.int64)
        lengths[sure] = pc.list_value_length(taken).to_numpy()
        for row, reading in slow.items():
            lengths[row] = len(reading[name])
        starts = np.cumsum(lengths) - lengths
        values = np.empty(int(lengths.sum()))
        values[np.repeat(sure, lengths)] = taken.flatten().to_numpy(zero_copy_only=False)
        for row, reading in slow.items():
            values[starts[row] : starts[row] + lengths[row]] = reading[name]
        return Vectors(values, starts[good])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _json_pointer(path: tuple[str, ...]) -> str:
    """As RFC 6901 writes it."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def _vectors_pass(
    vectors: pa.ListArray, lowest: float, highest: float, length: tuple[int, int]
) -> np.ndarray:
    """Which vectors have an allowed length and only finite elements within the range."""
    lengths = pc.list_value_length(vectors).fill_null(0).to_numpy()
    flat = vectors.flatten()
    elements = flat.fill_null(np.nan).to_numpy()
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isfinite(elements) & (elements >= lowest) & (elements <= highest))
    passes = (lengths >= length[0]) & (lengths <= length[1])
    owners = np.repeat(np.arange(len(lengths)), lengths)
    passes[owners[wrong]] = False
    return passes
