"""One part of a dataset: the devices from one name to another, made by one worker."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from breezeway.contract.expressions import Vectors
from breezeway.contract.features import History
from breezeway.contract.parser import Violation
from breezeway.preprocessing.payloads import PayloadParser
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.preprocessing.staging import sorted_blocks
from breezeway.readings.arrow import NAIVE_READINGS, READINGS, TIME
from breezeway.readings.intervals import Intervals

BLOCK_ROWS = 65_536
EXAMPLES = 16
QUARANTINE = pa.schema(
    [*NAIVE_READINGS, ("reason", pa.string()), ("field", pa.string()), ("message", pa.string())]
)
"""Readings that broke the contract, and why."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a dataset to make: the devices from `first` to `last`, in order of name.

    The first part also has the readings without a device. Every `sample_step`-th row is for the
    reference profile.
    """

    number: int
    first: str | None
    last: str | None
    example_devices: frozenset[str]
    sample_step: int


@dataclasses.dataclass
class PartResult:
    lead_in: int = 0
    rows_in: int = 0
    rows: int = 0
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    first_time: str | None = None
    last_time: str | None = None
    digest: str = ""
    field_totals: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """By field: values, nulls, sum."""
    examples: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sample: pa.Table | None = None


class _Digest:
    """A content hash of readings that does not depend on how they come in blocks."""

    def __init__(self):
        self._columns = {name: hashlib.sha256() for name in READINGS.names}

    def update(self, block: pa.Table) -> None:
        if not len(block):
            return
        for name in READINGS.names:
            column = block[name].combine_chunks()
            null = column.is_null().to_numpy(zero_copy_only=False)
            self._columns[name].update(np.packbits(null, bitorder="little").tobytes())
            if pa.types.is_string(column.type):
                text = column.fill_null("") if column.null_count else column
                _, offsets, data = text.buffers()
                bounds = np.frombuffer(offsets, np.int32)[text.offset :][: len(text) + 1]
                self._columns[name].update(np.diff(bounds))
                self._columns[name].update(memoryview(data or b"")[bounds[0] : bounds[-1]])
            else:
                numbers = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
                self._columns[name].update(numbers.tobytes())

    def hexdigest(self) -> str:
        return combined(column.hexdigest() for column in self._columns.values())


def combined(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def make_part(staged: Path, spec: DatasetSpec, part: Part, into: Path, threads: int) -> PartResult:
    """Make one part of the dataset.

    Writes `features/part-NNNNN.parquet` and, if any row was bad, `quarantine/part-NNNNN.parquet`
    below `into`.
    """
    return _PartMaker(spec, part, into, threads).run(staged)


class _PartMaker:
    def __init__(self, spec: DatasetSpec, part: Part, into: Path, threads: int):
        contract = spec.contract
        self._contract = contract
        self._part = part
        self._since = pa.scalar(spec.since, TIME).value if spec.since else None
        self._intervals = Intervals(spec.labels) if spec.labels is not None else None
        self._parser = PayloadParser(contract, threads)
        self._history = History(contract)
        self._known_devices: dict[str, Violation | None] = {}
        self._last_key: tuple[str, int] | None = None
        self._last_device: str | None = None
        self._examples: dict[tuple[str, str], dict[str, Any]] = {}
        self._result = PartResult(field_totals={name: [0.0, 0.0, 0.0] for name in contract.fields})
        self._threads = threads
        self._schema = pa.schema(
            [
                ("device", pa.string()),
                ("time", TIME),
                *((name, pa.float64()) for name in contract.feature_names),
                ("label", pa.int8()),
            ]
        )
        name = f"part-{part.number:05d}.parquet"
        self._features_file = into / "features" / name
        self._quarantine_file = into / "quarantine" / name
        self._quarantine: pq.ParquetWriter | None = None
        self._samples = [self._schema.empty_table()]

    def run(self, staged: Path) -> PartResult:
        self._features_file.parent.mkdir(parents=True, exist_ok=True)
        digest = _Digest()
        with pq.ParquetWriter(
            self._features_file,
            self._schema,
            compression="zstd",
            # Features hardly repeat: to look whether they do costs more than all the rest.
            use_dictionary=["device", "label"],
        ) as writer:
            part = self._part
            for block in sorted_blocks(staged, part.first, part.last, not part.number, BLOCK_ROWS):
                lead_in = self._lead_in(block)
                counted = block.filter(pa.array(~lead_in)) if lead_in.any() else block
                digest.update(counted)
                self._result.lead_in += int(lead_in.sum())
                self._result.rows_in += len(counted)
                rows_before = self._result.rows
                features = self._block_features(block, lead_in)
                writer.write_table(features)
                sampled = np.arange(
                    -rows_before % part.sample_step, len(features), part.sample_step
                )
                self._samples.append(features.take(pa.array(sampled)))
        if self._quarantine:
            self._quarantine.close()
        result = self._result
        result.digest = digest.hexdigest()
        result.sample = pa.concat_tables(self._samples).combine_chunks()
        result.examples = [self._examples[key] for key in sorted(self._examples)]
        if result.rows_in != result.rows + result.reasons.total():
            raise AssertionError(
                f"part {self._part.number}: {result.rows_in} rows in, {result.rows} out and "
                f"{result.reasons.total()} quarantined"
            )
        return result

    def _lead_in(self, block: pa.Table) -> np.ndarray:
        """Mask of the readings that are there for the windows of later ones alone."""
        if self._since is None:
            return np.zeros(len(block), bool)
        time = block["time"].combine_chunks().cast(pa.int64())
        return pc.less(time, self._since).fill_null(False).to_numpy(zero_copy_only=False)

    def _block_features(self, block: pa.Table, lead_in: np.ndarray) -> pa.Table:
        good, values, violations = self._parser.parse(block["payload"].combine_chunks())
        encoded = block["device"].combine_chunks().dictionary_encode()
        names = encoded.dictionary.to_pylist()
        codes = encoded.indices.fill_null(-1).to_numpy()
        keep = np.ones(int(good.sum()), bool)
        positions = np.flatnonzero(good)
        for row, violation in self._check_row_keys(block, codes, names).items():
            violations[row] = violation
            if good[row]:
                keep[np.searchsorted(positions, row)] = False
        rows = positions[keep]
        times = block["time"].combine_chunks().cast(pa.int64()).fill_null(0).to_numpy()[rows]
        new = self._not_repeated(codes[rows], names, times)
        for row in rows[~new].tolist():
            violations[row] = Violation(
                "time", "duplicate_time", "time: the device has another reading of that time"
            )
        keep[keep] = new
        rows, times = rows[new], times[new]
        values = _select(values, keep)
        counted = ~lead_in[rows]
        self._add_totals(values, times, counted)
        self._write_quarantine(block, {r: v for r, v in violations.items() if not lead_in[r]})
        features = self._features(block, rows, codes[rows], names, times, values, lead_in)
        return features if counted.all() else features.filter(pa.array(counted))

    def _check_row_keys(
        self, block: pa.Table, codes: np.ndarray, names: list[str]
    ) -> dict[int, Violation]:
        """What is wrong with device (its place in `names`), time and label of each row."""
        violations: dict[int, Violation] = {}
        label = block["label"].combine_chunks()
        allowed = pc.is_in(label, value_set=pa.array([0, 1, None], pa.int64()))
        for row in np.flatnonzero(~allowed.to_numpy(zero_copy_only=False)).tolist():
            violations[row] = Violation(
                "label", "wrong_type", f"label: {label[row]}, expected 0, 1 or null"
            )
        for code, name in enumerate(names):
            violation = self._device_violation(name)
            if violation:
                for row in np.flatnonzero(codes == code).tolist():
                    violations[row] = violation
        for name in ("time", "device"):
            null = block[name].combine_chunks().is_null().to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(null).tolist():
                violations[row] = Violation(name, "null", f"{name}: null")
        return violations

    def _device_violation(self, name: str) -> Violation | None:
        if name not in self._known_devices:
            try:
                self._contract.check_device(name)
                self._known_devices[name] = None
            except Violation as violation:
                self._known_devices[name] = violation.to_keep()
        return self._known_devices[name]

    def _not_repeated(self, codes: np.ndarray, names: list[str], times: np.ndarray) -> np.ndarray:
        new = np.ones(len(codes), bool)
        if len(codes):
            new[1:] = (codes[1:] != codes[:-1]) | (times[1:] != times[:-1])
            new[0] = (names[codes[0]], int(times[0])) != self._last_key
            self._last_key = (names[codes[-1]], int(times[-1]))
        return new

    def _add_totals(self, values: dict[str, Any], times: np.ndarray, counted: np.ndarray) -> None:
        result = self._result
        times = times[counted]
        result.rows += len(times)
        for name, column in _select(values, counted).items():
            numbers = column.values if isinstance(column, Vectors) else column
            null = np.isnan(numbers)
            totals = result.field_totals[name]
            totals[0] += len(numbers)
            totals[1] += int(null.sum())
            totals[2] += float(numbers.sum() if not null.any() else numbers[~null].sum())
        if len(times):
            first, last = (str(np.datetime64(int(t), "us")) for t in (times.min(), times.max()))
            result.first_time = min(filter(None, (result.first_time, first)))
            result.last_time = max(filter(None, (result.last_time, last)))

    def _write_quarantine(self, block: pa.Table, violations: dict[int, Violation]) -> None:
        if not violations:
            return
        rows = sorted(violations)
        found = [violations[row] for row in rows]
        self._result.reasons.update(violation.reason for violation in found)
        table = block.take(pa.array(rows, pa.int64()))
        for name, texts in (
            ("reason", [violation.reason for violation in found]),
            ("field", [violation.field for violation in found]),
            ("message", [str(violation) for violation in found]),
        ):
            table = table.append_column(name, pa.array(texts, pa.string()))
        if self._quarantine is None:
            self._quarantine_file.parent.mkdir(parents=True, exist_ok=True)
            self._quarantine = pq.ParquetWriter(
                self._quarantine_file, QUARANTINE, compression="zstd"
            )
        self._quarantine.write_table(table.cast(QUARANTINE))

    def _features(
        self,
        block: pa.Table,
        rows: np.ndarray,
        codes: np.ndarray,
        all_names: list[str],
        times: np.ndarray,
        values: dict[str, Any],
        lead_in: np.ndarray,
    ) -> pa.Table:
        if not len(rows):
            return self._schema.empty_table()
        starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
        names = [all_names[code] for code in codes[starts].tolist()]
        features = self._history.features(names, starts, values)
        if self._intervals:
            pieces = zip(names, np.split(times, starts[1:]), strict=True)
            label = pa.array(np.concatenate([self._intervals.label(d, t) for d, t in pieces]))
        else:
            label = block["label"].take(pa.array(rows)).combine_chunks().cast(pa.int8())
        ends = [*starts[1:].tolist(), len(rows)]
        for name, start, end in zip(names, starts.tolist(), ends, strict=True):
            if name in self._part.example_devices and not lead_in[rows[end - 1]]:
                self._remember_examples(block, rows[start:end], name, label, features, start, end)
        self._last_device = names[-1]
        utc = pa.array(times).cast(TIME)
        columns = [block["device"].take(pa.array(rows)).combine_chunks(), utc]
        columns += [pa.array(features[:, k]) for k in range(features.shape[1])]
        return pa.Table.from_arrays([*columns, label], schema=self._schema)

    def _remember_examples(
        self,
        block: pa.Table,
        rows: np.ndarray,
        device: str,
        label: pa.Array,
        features: np.ndarray,
        start: int,
        end: int,
    ) -> None:
        """Keep the last window of a device in the block and the last one in an event.

        A window that began in an earlier block is not whole here: without its beginning it
        would give other features.
        """
        cut_off = device == self._last_device
        positive = np.flatnonzero(
            pc.equal(label.slice(start, end - start), 1)
            .fill_null(False)
            .to_numpy(zero_copy_only=False)
        )
        ends = {"normal": end - start - 1}
        if len(positive):
            ends["event"] = int(positive[-1])
        for kind, last in ends.items():
            if cut_off and last + 1 < self._contract.window:
                continue
            window = rows[max(0, last + 1 - self._contract.window) : last + 1]
            readings = block.select(["time", "payload"]).take(pa.array(window)).to_pylist()
            self._examples[(device, kind)] = {
                "device": device,
                "readings": [
                    {"time": _utc_text(r["time"]), "payload": r["payload"]} for r in readings
                ],
                "features": [None if np.isnan(x) else x for x in features[start + last].tolist()],
            }


def _select(values: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """The values of the rows where `rows` (bool) is true."""
    if rows.all():
        return values
    return {
        name: column.select(rows) if isinstance(column, Vectors) else column[rows]
        for name, column in values.items()
    }


def _utc_text(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat() + "Z"
