"""`ReadingParser.parse` for a whole column of payloads at once, with the same answers.

DuckDB extracts the values of JSON, Arrow those of delimited text. Both are more lenient than the
contract. So their result for a row is used only if a fingerprint of its text shows that the text
has exactly the expected shape, and if each value passes. Every other row goes through
`ReadingParser.parse`, which decides.

The fingerprint: each byte that cannot be part of a number has a random 64-bit weight, all others
have weight 0. The expected sum of a payload follows from the contract, its categories, its nulls
and the lengths of its vectors. A quoted number, `true`, a duplicate or unknown key, a trailing
comma, `NaN`, an escape: each changes the sum. And every field must have been found at
its own key, because `"a1"` and `"a2"` have the same weight.

DuckDB gets only rows whose sum can be right for some values. A single malformed text would make it
refuse all rows, and to check first which texts are well formed costs more than half of the
extraction.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.contract import Contract
from breezeway.contract.expressions import Vectors
from breezeway.contract.parser import MAX_PAYLOAD_BYTES
from breezeway.contract.paths import shown
from breezeway.contract.schema import SensorField
from breezeway.contract.values import ValueReader, Violation
from breezeway.preprocessing.fingerprints import Fingerprints
from breezeway.preprocessing.json_documents import JsonDocuments
from breezeway.preprocessing.payload_formats import NULL, WORDS, Extracted, payload_format

MOST_SUMS = 1 << 14
"""The most fingerprints of good payloads that are listed."""

Values = dict[str, np.ndarray | Vectors]
"""By field, float64 of shape (rows,) or `Vectors`."""


class Parsed(NamedTuple):
    """A parsed column of payloads.

    Attributes:
        good: bool (rows,): which readings keep the contract.
        values: of the good readings, by field.
        violations: for each other row what is wrong.
        missing: of good readings, a row and what is wrong with a value of it that counts as
            missing; nulls are not among them.
    """

    good: np.ndarray
    values: Values
    violations: dict[int, Violation]
    missing: list[tuple[int, Violation]]


class PayloadParser:
    """Parses columns of payloads and checks them against a contract.

    Args:
        contract: the sensor contract.
        threads: of DuckDB, which reads JSON.
    """

    def __init__(self, contract: Contract, threads: int = 1):
        self._contract = contract
        self._format = payload_format(contract, threads)
        self._fingerprints = Fingerprints(self._format.weightless)
        self._comma = self._fingerprints.of_text(b",")
        self._null = self._fingerprints.of_text(self._format.null)
        self._constant = self._fingerprints.of_text(self._format.template())
        self._categories = {
            name: [self._fingerprints.of_text(t.encode()) for t in self._format.category_texts(f)]
            for name, f in contract.fields.items()
        }
        self._readers = contract.parser.readers
        self._sums = self._possible_sums()
        self._documents = None
        types = {field.type for field in contract.fields.values()}
        if contract.payload.format == "json" and "vector" not in types:
            self._documents = JsonDocuments(contract, contract.parser)

    def parse(self, payloads: pa.StringArray) -> Parsed:
        """Parse and check.

        Args:
            payloads: of shape (rows,); null where a reading has none.
        """
        fingerprints = self._fingerprints.of_column(payloads)
        sizes = pc.binary_length(payloads).fill_null(0).to_numpy(zero_copy_only=False)
        is_text = payloads.is_valid().to_numpy(zero_copy_only=False) & (sizes <= MAX_PAYLOAD_BYTES)
        likely = is_text & self._possible(payloads, fingerprints) & self._format.is_columnar
        extracted = dict(self._format.extract(payloads, likely))
        sure = likely & (self._expected(extracted) == fingerprints)
        for name, field in self._contract.fields.items():
            extracted[name] = _converted(self._readers[name], field, extracted[name])
            sure &= _passes(field, extracted[name])
        others = np.flatnonzero(is_text & ~sure)
        missing = self._read_documents(payloads, others, extracted, sure)
        slow: dict[int, dict[str, Any]] = {}
        violations: dict[int, Violation] = {}
        unsure = np.flatnonzero(~sure)
        texts = payloads.take(pa.array(unsure)).to_pylist()
        for row, text in zip(unsure.tolist(), texts, strict=True):
            wrong: list[Violation] = []
            try:
                slow[row] = self._contract.parser.parse(text, wrong)
            except Violation as violation:
                violations[row] = violation.to_keep()
            else:
                missing += [(row, violation.to_keep()) for violation in wrong]
        good = sure.copy()
        good[list(slow)] = True
        values = {
            name: _merge(name, field, extracted[name], sure, good, slow)
            for name, field in self._contract.fields.items()
        }
        return Parsed(good, values, violations, missing)

    def _read_documents(
        self,
        payloads: pa.StringArray,
        rows: np.ndarray,
        extracted: dict[str, Any],
        sure: np.ndarray,
    ) -> list[tuple[int, Violation]]:
        """Read some rows (their numbers) by their documents; what is sure is added to `extracted`
        and `sure`.

        Returns:
            The values that the documents have not.
        """
        if self._documents is None:
            return []
        rows = rows[self._documents.likely(payloads.take(pa.array(rows)))]
        if not len(rows):
            return []
        found = self._documents.read(payloads.take(pa.array(rows)).to_pylist())
        rows = rows[found.sure]
        missing = []
        for name, field in self._contract.fields.items():
            values, absent = found.values[name][found.sure], found.absent[name][found.sure]
            extracted[name] = np.array(extracted[name])
            none = NULL if field.type in WORDS else np.nan
            extracted[name][rows] = np.where(np.isnan(values), none, values)
            where = shown(field.segments(name, self._contract.payload))
            violation = Violation(name, "missing", f"{name}: no {where!r} in the payload")
            missing += [(row, violation) for row in rows[absent].tolist()]
        sure[rows] = True
        return missing

    def _possible_sums(self) -> np.ndarray | None:
        """The fingerprints of good payloads, in order; None if they are too many."""
        sums = np.array([self._constant])
        for name, field in self._contract.fields.items():
            ways = self._ways(name, field)
            if len(sums) * len(ways) > MOST_SUMS:
                return None
            sums = np.unique(np.add.outer(sums, np.array(ways)))
        return sums

    def _ways(self, name: str, field: SensorField) -> list[np.uint64]:
        """The possible weights of good values of a field."""
        null = [self._null] if field.invalid == "missing" else []
        if field.type == "vector":
            commas = np.arange(field.length[0] - 1, field.length[1], dtype=np.uint64)
            return [*(commas * self._comma), *null]
        if field.type in WORDS:
            return [*self._categories[name], *null]
        return [np.uint64(0), *null]

    def _possible(self, payloads: pa.StringArray, fingerprints: np.ndarray) -> np.ndarray:
        """Which rows may be good, for any numbers in them."""
        if self._sums is None:
            return self._format.may_be_good(payloads)
        nearest = np.searchsorted(self._sums, fingerprints)
        possible: np.ndarray = self._sums.take(nearest, mode="clip") == fingerprints
        return possible

    def _expected(self, extracted: Extracted) -> np.ndarray:
        """The fingerprint that each row must have if it contains only its values."""
        expected: Any = self._constant
        for name, field in self._contract.fields.items():
            values = extracted[name]
            if field.type == "vector":
                lengths = pc.list_value_length(values).fill_null(1).to_numpy()
                commas = np.maximum(lengths - 1, 0).astype(np.uint64)
                expected = expected + commas * self._comma
            elif field.type in WORDS:
                # the positions UNKNOWN and NULL are the last two
                weights = np.array([*self._categories[name], np.uint64(0), self._null])
                expected = expected + weights[values]
            else:
                expected = expected + np.isnan(values).astype(np.uint64) * self._null
        return np.asarray(expected)


def _converted(reader: ValueReader, field: SensorField, values: Any) -> Any:
    """The values as the contract means them."""
    if field.type in WORDS or not reader.converts:
        return values
    if field.type != "vector":
        return reader.converted(values)
    lengths = pc.list_value_length(values).fill_null(0).to_numpy()
    elements = values.flatten().fill_null(np.nan).to_numpy()
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(reader.converted(elements)))


def _passes(field: SensorField, values: Any) -> np.ndarray:
    """Which values obey the rules of their field, bool."""
    lowest, highest = field.range or (-np.inf, np.inf)
    if field.type in WORDS:
        return np.asarray(values >= (NULL if field.invalid == "missing" else 0))
    if field.type == "vector":
        return _vectors_pass(values, lowest, highest, field.length)
    passes = np.isfinite(values) & (values >= lowest) & (values <= highest)
    if field.type == "int":
        passes &= np.floor(values) == values
    return np.where(np.isnan(values), field.invalid == "missing", passes)


def _vectors_pass(
    vectors: pa.ListArray, lowest: float, highest: float, length: tuple[int, int]
) -> np.ndarray:
    """Which vectors have an allowed length and only finite elements within the range."""
    lengths = pc.list_value_length(vectors).fill_null(0).to_numpy()
    elements = vectors.flatten().fill_null(np.nan).to_numpy()
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isfinite(elements) & (elements >= lowest) & (elements <= highest))
    passes: np.ndarray = (lengths >= length[0]) & (lengths <= length[1])
    owners = np.repeat(np.arange(len(lengths)), lengths)
    passes[owners[wrong]] = False
    return passes


def _merge(
    name: str,
    field: SensorField,
    extracted: Any,
    sure: np.ndarray,
    good: np.ndarray,
    slow: Mapping[int, Mapping[str, Any]],
) -> np.ndarray | Vectors:
    """The values of the good rows, in order: extracted where that is sure, else parsed."""
    if field.type == "vector":
        return _merge_vectors(extracted, sure, good, {row: slow[row][name] for row in slow})
    if field.type in WORDS:
        values = np.where(extracted >= 0, extracted.astype(np.float64), np.nan)
    else:
        values = extracted.copy()
    for row, reading in slow.items():
        values[row] = reading[name]
    return np.asarray(values[good])


def _merge_vectors(
    extracted: pa.ListArray, sure: np.ndarray, good: np.ndarray, slow: Mapping[int, np.ndarray]
) -> Vectors:
    lengths = pc.list_value_length(extracted).fill_null(0).to_numpy().astype(np.int64)
    elements = extracted.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    others = np.flatnonzero(~sure)
    others_end = ends[others]
    others_begin = others_end - lengths[others]
    pieces, position = [], 0
    for row, begin, end in zip(
        others.tolist(), others_begin.tolist(), others_end.tolist(), strict=True
    ):
        pieces.append(elements[position:begin])
        position = end
        if row in slow:
            pieces.append(slow[row])
            lengths[row] = len(slow[row])
    values = np.concatenate([*pieces, elements[position:]])
    lengths = lengths[good]
    return Vectors(values, np.cumsum(lengths) - lengths)
