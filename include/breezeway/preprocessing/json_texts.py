"""Columns of JSON payloads with words for numbers, with missing keys, and with other keys.

DuckDB finds the text of each field's value; what the text means is decided here, by columns, as
`ValueReader` does for one. A row is taken only if that is sure to be the same; all others are left
to `ReadingParser`. What makes DuckDB's answer sure:

- It takes trailing commas, NaN and infinity, which `ReadingParser` does not, or otherwise: rows
  that may have them are left out.
- A key that occurs twice has two values. So the contract's keys must occur as often in the text, at
  any place, as values and tables were found at their paths. Without a backslash no key can be
  written in another way.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.contract import Contract
from breezeway.contract.schema import SensorField
from breezeway.contract.values import NUMBER, ValueReader
from breezeway.core.quoting import json_pointer, sql_string
from breezeway.preprocessing.payload_formats import WORDS

FEWEST_ROWS = 64
"""A query costs as much as reading so many payloads one by one."""
SHALLOW_BYTES = 1000
"""A text can be half as deep; deeper ones are left to `ReadingParser`, which has a limit."""
INEXACT = r"(?i)nan|inf|,\s*[}\]]|\\"
WHOLE_NUMBER = "^-?[0-9]{1,15}$"
LITERALS = ["true", "false"]
ABSENT = "absent"
"""The text of a value without a key, which no JSON value has."""


class Texts(NamedTuple):
    """What the texts of some payloads mean.

    Attributes:
        sure: bool (rows,): which rows keep the contract, and are read here.
        values: by field, float64 (rows,); NaN is missing.
        absent: by field, bool (rows,): whose key is missing.
    """

    sure: np.ndarray
    values: dict[str, np.ndarray]
    absent: dict[str, np.ndarray]


class JsonTexts:
    """Reads payloads of one contract without vectors and without paths into lists.

    Args:
        contract: the sensor contract.
        readers: of its fields.
        threads: of DuckDB.
    """

    def __init__(self, contract: Contract, readers: Mapping[str, ValueReader], threads: int):
        self._contract, self._readers = contract, readers
        self._connection = duckdb.connect(config={"threads": threads})
        paths = {
            name: tuple(map(str, field.segments(name))) for name, field in contract.fields.items()
        }
        self._tables: dict[tuple[str, ...], list[str]] = {}
        """The fields below each table."""
        for name, path in paths.items():
            for depth in range(1, len(path)):
                self._tables.setdefault(path[:depth], []).append(name)
        keys = {orjson.dumps(key).decode() for path in paths.values() for key in path}
        self._any_key = f"(?:{'|'.join(map(re.escape, sorted(keys)))})[ \\t\\r\\n]*:"
        document: dict[str, object] = {}
        for path in paths.values():
            inner = document
            for key in path[:-1]:
                inner = inner.setdefault(key, {})  # type: ignore[assignment]
            inner[path[-1]] = "JSON"
        columns = ['payload IS NOT NULL AS "?"']
        for name, path in paths.items():
            value = "document" + "".join(f"[{sql_string(key)}]" for key in path)
            null = f"json_type(payload, {sql_string(json_pointer(path))}) = 'NULL'"
            text = f"COALESCE({value}::VARCHAR, CASE WHEN {null} THEN 'null' ELSE '{ABSENT}' END)"
            columns.append(f'{text} AS "{name}"')
        types = sql_string(orjson.dumps(document).decode())
        self._query = (
            f"SELECT {', '.join(columns)} FROM (SELECT payload, from_json(payload, {types}) AS "
            "document FROM (SELECT CASE WHEN json_valid(payload) THEN payload END AS payload "
            "FROM payloads))"
        )

    @staticmethod
    def likely(payloads: pa.StringArray) -> np.ndarray:
        """Which payloads, bool, may be read at all; only a quick check."""
        likely = _mask(pc.starts_with(payloads, "{"))
        likely &= ~_mask(pc.match_substring_regex(payloads, INEXACT))
        likely &= _mask(pc.less(pc.binary_length(payloads), SHALLOW_BYTES))
        return likely

    def read(self, payloads: pa.StringArray) -> Texts:
        """What payloads mean that are `likely`, as far as it is sure."""
        with self._connection.cursor() as cursor:
            cursor.register("payloads", pa.table({"payload": payloads}))
            found = cursor.sql(self._query).to_arrow_table()
        sure = _mask(found["?"].combine_chunks())
        values, absent = {}, {}
        for name, field in self._contract.fields.items():
            texts = found[name].combine_chunks()
            absent[name] = _mask(pc.equal(texts, ABSENT))
            values[name], known = self._values(name, field, texts)
            sure &= known | (absent[name] & (field.invalid == "missing"))
        return Texts(sure & self._has_no_other(payloads, absent), values, absent)

    def _has_no_other(
        self, payloads: pa.StringArray, absent: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Which rows have the contract's keys just where values were found."""
        expected = np.sum([~missing for missing in absent.values()], axis=0)
        for names in self._tables.values():
            expected += ~np.all([absent[name] for name in names], axis=0)
        occurrences = pc.count_substring_regex(payloads, self._any_key).fill_null(0).to_numpy()
        same: np.ndarray = occurrences == expected
        return same

    def _values(
        self, name: str, field: SensorField, texts: pa.StringArray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of a field, and for which rows they are sure."""
        reader = self._readers[name]
        in_quotes = pc.starts_with(texts, '"')
        null = pc.equal(texts, "null")
        words = texts
        if pc.any(in_quotes).as_py():
            inner = pc.ascii_trim(pc.utf8_slice_codeunits(texts, 1, -1), " ")
            words = pc.if_else(in_quotes, inner, texts)
            nulls = pa.array(reader.null_texts, pa.string())
            null = pc.or_(null, pc.and_(in_quotes, pc.is_in(words, value_set=nulls)))
        is_null = _mask(null)
        if field.type in WORDS:
            numbers, sure = self._words(field, reader, words, _mask(in_quotes))
        else:
            numbers, sure = self._numbers(reader, words, in_quotes)
        is_null |= sure & np.isnan(numbers)
        numbers = np.where(is_null, np.nan, numbers)
        return numbers, np.where(is_null, field.invalid == "missing", sure)

    def _words(
        self, field: SensorField, reader: ValueReader, words: pa.StringArray, in_quotes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What words mean; NaN for a number that stands for a null."""
        folded = pc.ascii_lower(words) if field.type == "bool" else words
        place = pc.index_in(folded, value_set=pa.array(list(reader.words), pa.string()))
        meant = np.append(list(reader.words.values()), np.nan)[place.fill_null(-1).to_numpy()]
        is_number = pc.match_substring_regex(words, WHOLE_NUMBER)
        sent = pc.if_else(is_number, words, "0").cast(pa.float64()).to_numpy()
        null = np.isnan(reader.converted(sent)) & ~in_quotes & _mask(is_number)
        scalar = in_quotes | _mask(pc.or_(is_number, pc.is_in(words, value_set=pa.array(LITERALS))))
        return np.where(null, np.nan, meant), null | (scalar & _mask(place.is_valid()))

    def _numbers(
        self, reader: ValueReader, words: pa.StringArray, in_quotes: pa.BooleanArray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What numbers mean; NaN for one that stands for a null."""
        if reader.unit:
            bare = pc.ascii_rtrim(pc.utf8_slice_codeunits(words, 0, -len(reader.unit)), " ")
            words = pc.if_else(pc.and_(in_quotes, pc.ends_with(words, reader.unit)), bare, words)
        if reader.has_comma:
            pointed = pc.if_else(pc.match_substring(words, "."), "", words)
            pointed = pc.replace_substring(pointed, ",", ".", max_replacements=1)
            words = pc.if_else(in_quotes, pointed, words)
        is_number = pc.match_substring_regex(words, f"^(?:{NUMBER.pattern})$")
        numbers = pc.if_else(is_number, words, "nan").cast(pa.float64()).to_numpy()
        meant = reader.converted(numbers) if reader.converts else numbers
        return meant, _mask(is_number) & (np.isnan(meant) | reader.is_good(meant))


def _mask(array: pa.BooleanArray) -> np.ndarray:
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False))
