"""`ReadingParser.parse` for a whole column of payloads at once, with the same answers.

DuckDB extracts the values of JSON, Arrow those of delimited text. Both are more lenient than the
contract, so a row is only taken from them when a fingerprint of its text shows that the text has
exactly the expected shape, and when each value passes. Every other row goes through
`ReadingParser.parse`, which has the last word.

The fingerprint: each byte that cannot be part of a number has a random 64-bit weight, all
others weigh nothing. The sum over a payload is known beforehand from the contract, its
categories, its nulls and the lengths of its vectors. A quoted number, `true`, a duplicate or
unknown key, a trailing comma, `NaN`, an escape: each changes the sum. Every field must have been
found at its own key: `"a1"` weighs what `"a2"` weighs, so the sum alone does not tell them apart.

DuckDB is shown only rows whose sum can be right, whatever their values are: one malformed text
among the others would make it refuse them all, and to ask it first which are well formed costs
more than half of the extraction again.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from breezeway.contract.contract import Contract
from breezeway.contract.expressions import Vectors
from breezeway.contract.parser import NUMBER, Violation
from breezeway.contract.schema import SensorField

FINGERPRINT_PAIRS = 1 << 15
"""Of octets, whose weights are looked up at once: they and their weights stay in the cache."""
MOST_SUMS = 1 << 14
"""Of fingerprints that good payloads may have; where there may be more they are not listed."""


class PayloadParser:
    """Parses and checks columns of payloads by one contract.

    Args:
        contract: the sensor contract.
        threads: of DuckDB, which reads JSON.
    """

    def __init__(self, contract: Contract, threads: int = 1):
        self._contract = contract
        self._json = contract.payload.format == "json"
        if self._json:
            self._connection = duckdb.connect(config={"threads": threads})
        self._weights = np.random.default_rng(secrets.randbits(128)).integers(
            1, 2**63, size=256, dtype=np.uint64
        )
        weightless = b"0123456789+-.eE" + (b" \t\r\n" if self._json else b"")
        self._weights[list(weightless)] = 0
        # By pairs of octets, in either order: half as many to look up and to add.
        self._pair_weights = np.add.outer(self._weights, self._weights).ravel()
        self._constant = self._weigh(self._template())
        self._sums = self._possible_sums()

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
        fingerprint = self._fingerprint(payloads)
        likely = payloads.is_valid().to_numpy(zero_copy_only=False)
        likely &= self._possible(payloads, fingerprint)
        extract = self._extract_json if self._json else self._extract_delimited
        extracted = extract(payloads, likely)
        sure = likely & (self._expected_fingerprint(extracted) == fingerprint)
        for name, field in self._contract.fields.items():
            sure &= self._passes(field, extracted[name])
        slow: dict[int, dict[str, Any]] = {}
        violations: dict[int, Violation] = {}
        unsure = np.flatnonzero(~sure)
        texts = payloads.take(pa.array(unsure)).to_pylist()
        for row, text in zip(unsure.tolist(), texts, strict=True):
            try:
                slow[row] = self._contract.parser.parse(text)
            except Violation as violation:
                violations[row] = violation.to_keep()
        good = sure.copy()
        good[list(slow)] = True
        values = {
            name: self._merge(name, extracted[name], sure, good, slow)
            for name in self._contract.fields
        }
        return good, values, violations

    def _json_select(self, text: str) -> str:
        """The query for all fields of `text`, an expression over the column `payload`."""
        spec: dict[str, Any] = {}
        columns = []
        for name, field in self._contract.fields.items():
            path = field.keys(name)
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
            f"(SELECT {text} AS text FROM payloads))"
        )

    def _template(self) -> bytes:
        """A payload without its categories, nulls, and commas inside vectors."""
        if not self._json:
            return self._contract.payload.separator.encode() * (len(self._contract.fields) - 1)
        document: dict[str, Any] = {}
        for name, field in self._contract.fields.items():
            path = field.keys(name)
            inner = document
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = [] if field.type == "vector" else 0
        return orjson.dumps(document)

    def _weigh(self, text: bytes) -> np.uint64:
        return self._weights[list(text)].sum(dtype=np.uint64)

    def _possible_sums(self) -> np.ndarray | None:
        """The fingerprints of good payloads, in order; None where they are too many."""
        null = [self._weigh(b"null") if self._json else np.uint64(0)]
        none = [np.uint64(0)]
        choices = []
        for field in self._contract.fields.values():
            if field.type == "vector":
                commas = np.arange(field.length[0] - 1, field.length[1], dtype=np.uint64)
                ways = list(commas * self._weights[ord(",")])
            elif field.type == "category":
                ways = [self._weigh(text.encode()) for text in self._category_texts(field)]
            else:
                ways = none
            choices.append(ways + null if field.nulls == "allow" else ways)
        sums = np.array([self._constant])
        for ways in choices:
            if len(sums) * len(ways) > MOST_SUMS:
                return None
            sums = np.unique(np.add.outer(sums, np.array(ways)))
        return sums

    def _possible(self, payloads: pa.StringArray, fingerprint: np.ndarray) -> np.ndarray:
        """Which rows may be good, whatever their numbers are."""
        if self._sums is not None:
            nearest = np.searchsorted(self._sums, fingerprint)
            return self._sums.take(nearest, mode="clip") == fingerprint
        if self._json:
            return np.ones(len(payloads), bool)
        separators = pc.count_substring(payloads, self._contract.payload.separator)
        one_line = pc.invert(pc.match_substring_regex(payloads, r"[\r\n]"))
        whole = pc.and_(pc.equal(separators, len(self._contract.fields) - 1), one_line)
        return whole.fill_null(False).to_numpy(zero_copy_only=False)

    def _extract_json(self, payloads: pa.StringArray, likely: np.ndarray) -> dict[str, Any]:
        """Values by field as DuckDB sees them: numbers (null: NaN), categories' positions
        (null: -1, unknown: -2), or a list array. A row that is not likely counts as null."""
        _, offsets, data = payloads.buffers()
        valid = np.packbits(np.pad(likely, (payloads.offset, 0)), bitorder="little")
        shown = pa.StringArray.from_buffers(
            len(payloads), offsets, data, pa.py_buffer(valid), offset=payloads.offset
        )
        with self._connection.cursor() as cursor:
            cursor.register("payloads", pa.table({"payload": shown}))
            try:
                found = cursor.sql(self._json_select("payload")).to_arrow_table()
            except duckdb.InvalidInputException:
                # A malformed text with a sum that can be right, or the sums are not listed.
                checked = "CASE WHEN json_valid(payload) THEN payload END"
                found = cursor.sql(self._json_select(checked)).to_arrow_table()
        found = found.combine_chunks()
        return {name: self._as_values(name, found[name]) for name in self._contract.fields}

    def _extract_delimited(self, payloads: pa.StringArray, likely: np.ndarray) -> dict[str, Any]:
        """The same, as Arrow's reader of CSV sees them; a row that is not likely has what no
        field may have. Likely rows have the right number of parts, and no line break."""
        lines = payloads.filter(pa.array(likely))
        try:
            found = self._read_delimited(lines, pa.float64())
        except pa.ArrowInvalid:  # a part looks like a number, and is none
            found = self._read_delimited(lines, pa.string())
        extracted = {}
        for name, field in self._contract.fields.items():
            column = found[name]
            if pa.types.is_string(column.type) and field.type != "category":
                number = pc.match_substring_regex(column, f"^(?:{NUMBER.pattern})$")
                column = pc.if_else(number, column, "inf").cast(pa.float64())
            values = self._as_values(name, column)
            extracted[name] = np.full(len(likely), -2 if field.type == "category" else np.inf)
            extracted[name] = extracted[name].astype(values.dtype)
            extracted[name][likely] = values
        return extracted

    def _read_delimited(self, lines: pa.StringArray, number: pa.DataType) -> pa.Table:
        fields = self._contract.fields
        kinds = {n: pa.string() if f.type == "category" else number for n, f in fields.items()}
        whole = pa.ListArray.from_arrays([0, len(lines)], lines)
        text = pc.binary_join(whole, "\n")[0].as_buffer()
        if not text.size:  # which is no CSV; one field, and it is null, or no row at all
            return pa.table({n: pa.nulls(len(lines), kind) for n, kind in kinds.items()})
        return pa_csv.read_csv(
            pa.BufferReader(text),
            pa_csv.ReadOptions(use_threads=False, block_size=text.size, column_names=list(fields)),
            pa_csv.ParseOptions(
                delimiter=self._contract.payload.separator,
                quote_char=False,
                ignore_empty_lines=False,
            ),
            pa_csv.ConvertOptions(column_types=kinds, null_values=[""], strings_can_be_null=True),
        ).combine_chunks()

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
                null = array.is_null()
            return np.where(null.to_numpy(zero_copy_only=False), -1, code.to_numpy())
        return (array.fill_null(np.nan) if array.null_count else array).to_numpy()

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
        ends = ends.astype(np.int64)
        text = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        pairs = text[: len(text) & ~1].view(np.uint16)
        bounds = ends >> 1
        out = np.zeros(len(payloads), np.uint64)
        most = max(FINGERPRINT_PAIRS, int(np.diff(bounds).max(initial=0)))
        places, weights = np.empty(most, np.intp), np.empty(most, np.uint64)
        start = 0
        while start < len(payloads):
            # at least one row
            stop = np.searchsorted(bounds, bounds[start] + FINGERPRINT_PAIRS, side="right") - 1
            stop = min(max(stop, start + 1), len(payloads))
            here = bounds[start : stop + 1]
            count = here[-1] - here[0]
            # NumPy would turn pairs into positions inside of `take`, in a slower way.
            places[:count] = pairs[here[0] : here[-1]]
            self._pair_weights.take(places[:count], out=weights[:count], mode="clip")
            filled = np.flatnonzero(np.diff(here))  # reduceat has no empty pieces
            if len(filled):
                out[start + filled] = np.add.reduceat(weights[:count], here[filled] - here[0])
            start = stop
        # A boundary inside of a pair: its first octet was counted for the row after.
        first_octet = np.zeros(len(ends), np.uint64)
        odd = np.flatnonzero(ends & 1)
        first_octet[odd] = self._weights[text[ends[odd] - 1]]
        return out + first_octet[1:] - first_octet[:-1]

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
                pieces.append(slow[row][name])
                lengths[row] = len(slow[row][name])
        values = np.concatenate([*pieces, elements[position:]])
        lengths = lengths[good]
        return Vectors(values, np.cumsum(lengths) - lengths)


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
