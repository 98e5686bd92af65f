"""Columns of payloads to columns of values, by format: JSON by DuckDB, delimited text by Arrow.

Both are more lenient than the contract. `payloads` decides which rows they get, and whether to use
their result.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from breezeway.contract.contract import Contract
from breezeway.contract.schema import SensorField
from breezeway.contract.values import NUMBER
from breezeway.core.quoting import json_pointer, sql_string

WORDS = ("category", "bool")
"""Types of fields whose values are words."""
NULL, UNKNOWN = -1, -2
"""Stand for the position of a word if there is none."""

UNIT_SEPARATOR = "\x1f"

Extracted = Mapping[str, Any]
"""Values by field: numbers (null: NaN), positions of categories, or a list array of vectors."""


class PayloadFormat(ABC):
    """One format of payloads, for one contract."""

    weightless: bytes
    """The bytes of numbers, and the bytes between values without a meaning."""
    null: ClassVar[bytes]
    """The text of a null."""
    is_columnar: bool
    """Whether whole columns can be extracted; otherwise `ReadingParser` reads all payloads."""

    def __init__(self, contract: Contract):
        self._contract = contract
        # A quality stands beside the values, or is one of them that has a say about another.
        self.is_columnar = not any(field.quality for field in contract.fields.values())

    @abstractmethod
    def template(self) -> bytes:
        """A payload without its categories, nulls, and commas inside vectors."""

    @abstractmethod
    def category_texts(self, field: SensorField) -> list[str]:
        """The text of each category; of a bool, those of false and true."""

    @abstractmethod
    def may_be_good(self, payloads: pa.StringArray) -> np.ndarray:
        """Which payloads can be extracted at all, bool; only a quick check."""

    @abstractmethod
    def extract(self, payloads: pa.StringArray, likely: np.ndarray) -> Extracted:
        """Values of the likely rows (bool); the values of other rows are never valid."""

    @abstractmethod
    def _is_null(self, texts: pa.Array) -> pa.Array:
        """Which categories are null."""

    def _values(self, field: SensorField, array: pa.Array) -> Any:
        if field.type == "vector":
            return array
        if field.type in WORDS:
            texts = array.cast(pa.string())
            known = pa.array(self.category_texts(field), pa.string())
            position = pc.index_in(texts, value_set=known).fill_null(UNKNOWN)
            null = self._is_null(texts).to_numpy(zero_copy_only=False)
            return np.where(null, NULL, position.to_numpy())
        return (array.fill_null(np.nan) if array.null_count else array).to_numpy()


class Json(PayloadFormat):
    """JSON objects, read by DuckDB.

    Args:
        threads: of DuckDB.
    """

    weightless = b"0123456789+-.eE \t\r\n"
    null = b"null"

    def __init__(self, contract: Contract, threads: int):
        super().__init__(contract)
        self._connection = duckdb.connect(config={"threads": threads})
        paths = {
            name: field.segments(name, contract.payload) for name, field in contract.fields.items()
        }
        self._keys = {
            name: tuple(segment for segment in path if isinstance(segment, str))
            for name, path in paths.items()
        }
        leads_into_lists = self._keys != paths
        self.is_columnar &= not (leads_into_lists or contract.payload.readings)

    def template(self) -> bytes:
        return orjson.dumps(self._document({"vector": []}, 0)) if self.is_columnar else b""

    def category_texts(self, field: SensorField) -> list[str]:
        if field.type == "bool":
            return ["false", "true"]
        return [orjson.dumps(category).decode() for category in field.categories]

    def may_be_good(self, payloads: pa.StringArray) -> np.ndarray:
        return np.ones(len(payloads), bool)

    def extract(self, payloads: pa.StringArray, likely: np.ndarray) -> Extracted:
        fields = self._contract.fields.items()
        if not likely.any():
            kinds = {"vector": pa.list_(pa.float64())} | dict.fromkeys(WORDS, pa.string())
            nothing = {n: pa.nulls(len(likely), kinds.get(f.type, pa.float64())) for n, f in fields}
            return {name: self._values(field, nothing[name]) for name, field in fields}
        _, offsets, data = payloads.buffers()
        valid = np.packbits(np.pad(likely, (payloads.offset, 0)), bitorder="little")
        shown = pa.StringArray.from_buffers(
            len(payloads), offsets, data, pa.py_buffer(valid), offset=payloads.offset
        )
        with self._connection.cursor() as cursor:
            cursor.register("payloads", pa.table({"payload": shown}))
            try:
                found = cursor.sql(self._select("payload")).to_arrow_table()
            except duckdb.InvalidInputException:
                # A malformed text may have a correct sum, or the sums are not listed.
                checked = "CASE WHEN json_valid(payload) THEN payload END"
                found = cursor.sql(self._select(checked)).to_arrow_table()
        return {name: self._values(field, _in_one(found[name])) for name, field in fields}

    def _is_null(self, texts: pa.Array) -> pa.Array:
        return pc.equal(texts, "null").fill_null(False)

    def _document(self, kinds: Mapping[str, Any], other: Any) -> dict[str, Any]:
        """The structure of a document, with the type of each field."""
        document: dict[str, Any] = {}
        for name, field in self._contract.fields.items():
            path = self._keys[name]
            inner = document
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = kinds.get(field.type, other)
        return document

    def _select(self, text: str) -> str:
        """The query for all fields of `text`, an expression over the column `payload`."""
        kinds = {"category": "JSON", "bool": "JSON", "vector": ["DOUBLE"]}
        types = self._document(kinds, "DOUBLE")
        columns = [
            f'{self._column(field, self._keys[name])} AS "{name}"'
            for name, field in self._contract.fields.items()
        ]
        document = f"from_json(text, {sql_string(orjson.dumps(types).decode())}) AS document"
        return (
            f"SELECT {', '.join(columns)} FROM (SELECT text, {document} "
            f"FROM (SELECT {text} AS text FROM payloads))"
        )

    @staticmethod
    def _column(field: SensorField, path: tuple[str, ...]) -> str:
        value = "document" + "".join(f"[{sql_string(key)}]" for key in path)
        if field.invalid == "reject" or field.type == "vector":
            return value
        # from_json gives NULL for a null and for a missing key alike.
        null = f"json_type(text, {sql_string(json_pointer(path))}) = 'NULL'"
        known, missing = ("'null'", "NULL") if field.type in WORDS else ("NULL", "'inf'")
        return (
            f"CASE WHEN {value} IS NOT NULL THEN {value} "
            f"WHEN {null} THEN {known} ELSE {missing} END"
        )


class Delimited(PayloadFormat):
    """Values between separators, in the order of the contract's fields, read by Arrow as CSV."""

    null = b""

    def __init__(self, contract: Contract):
        super().__init__(contract)
        self.weightless = b"0123456789+-eE" + contract.payload.decimal.encode()

    def template(self) -> bytes:
        return self._contract.payload.separator.encode() * (len(self._contract.fields) - 1)

    def category_texts(self, field: SensorField) -> list[str]:
        return ["false", "true"] if field.type == "bool" else list(field.categories)

    def may_be_good(self, payloads: pa.StringArray) -> np.ndarray:
        """Which payloads have the right number of values, and no line break."""
        separators = pc.count_substring(payloads, self._contract.payload.separator)
        one_line = pc.invert(pc.match_substring_regex(payloads, r"[\r\n]"))
        whole = pc.and_(pc.equal(separators, len(self._contract.fields) - 1), one_line)
        return np.asarray(whole.fill_null(False).to_numpy(zero_copy_only=False))

    def extract(self, payloads: pa.StringArray, likely: np.ndarray) -> Extracted:
        if len(self._contract.payload.separator) > 1:  # its characters may stand elsewhere
            likely = likely & self.may_be_good(payloads)
        lines = payloads.filter(pa.array(likely))
        try:
            found = self._read(lines, pa.float64())
        except pa.ArrowInvalid:  # a value looks like a number but is not one
            found = self._read(lines, pa.string())
        extracted = {}
        for name, field in self._contract.fields.items():
            column = found[name]
            if pa.types.is_string(column.type) and field.type not in WORDS:
                column = pc.replace_substring(column, self._contract.payload.decimal, ".")
                number = pc.match_substring_regex(column, f"^(?:{NUMBER.pattern})$")
                column = pc.if_else(number, column, "inf").cast(pa.float64())
            values = self._values(field, _in_one(column))
            extracted[name] = np.full(len(likely), UNKNOWN if field.type in WORDS else np.inf)
            extracted[name] = extracted[name].astype(values.dtype)
            extracted[name][likely] = values
        return extracted

    def _is_null(self, texts: pa.Array) -> pa.Array:
        return texts.is_null()

    def _read(self, lines: pa.StringArray, number: pa.DataType) -> pa.Table:
        """Read the lines as a CSV file, with numbers of that type."""
        fields = self._contract.fields
        kinds = {n: pa.string() if f.type in WORDS else number for n, f in fields.items()}
        separator = self._contract.payload.separator
        if len(separator) > 1:  # Arrow takes one character; a text with this one is never sure
            lines, separator = (
                pc.replace_substring(lines, separator, UNIT_SEPARATOR),
                UNIT_SEPARATOR,
            )
        whole = pa.ListArray.from_arrays([0, len(lines)], lines)
        text = pc.binary_join(whole, "\n")[0].as_buffer()
        if not text.size:  # not a CSV file: there is one field and it is null, or there is no row
            return pa.table({n: pa.nulls(len(lines), kind) for n, kind in kinds.items()})
        if not lines[-1].as_py():  # it would be taken for the end of the line before
            text = pa.py_buffer(text.to_pybytes() + b"\n")
        return pa_csv.read_csv(
            pa.BufferReader(text),
            pa_csv.ReadOptions(use_threads=False, block_size=text.size, column_names=list(fields)),
            pa_csv.ParseOptions(
                delimiter=separator,
                quote_char=False,
                ignore_empty_lines=False,
            ),
            pa_csv.ConvertOptions(
                column_types=kinds,
                null_values=[""],
                strings_can_be_null=True,
                decimal_point=self._contract.payload.decimal,
            ),
        )


def payload_format(contract: Contract, threads: int) -> PayloadFormat:
    """The format that a contract names."""
    return Json(contract, threads) if contract.payload.format == "json" else Delimited(contract)


def _in_one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
