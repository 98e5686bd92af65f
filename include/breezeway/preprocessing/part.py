"""One part of a dataset: the devices between two names, processed by one worker."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from breezeway.contract.baselines import Baselines, DeviceBaseline, beside
from breezeway.contract.expressions import Vectors
from breezeway.contract.features import History
from breezeway.contract.values import Violation
from breezeway.core.errors import InternalError
from breezeway.core.files import writing
from breezeway.preprocessing.baselines import BaselineMaker
from breezeway.preprocessing.carried import CarriedForward
from breezeway.preprocessing.content_hash import ContentHash
from breezeway.preprocessing.examples import Examples
from breezeway.preprocessing.manifest import Rejected, by_reason
from breezeway.preprocessing.payloads import PayloadParser, Values
from breezeway.preprocessing.profile import (
    DeviceBlock,
    DeviceTotals,
    FieldTotals,
    LateReadings,
    Profile,
)
from breezeway.preprocessing.row_checks import Copies, Devices, RowChecks
from breezeway.preprocessing.spacing import IntervalTally
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.preprocessing.staging import sorted_blocks
from breezeway.readings.arrow import ID, NAIVE_READINGS, TIME
from breezeway.readings.intervals import Intervals

BLOCK_ROWS = 65_536
QUARANTINE = pa.schema(
    [*NAIVE_READINGS, ("reason", pa.string()), ("field", pa.string()), ("message", pa.string())]
)
"""Readings that broke the contract, and why."""


@dataclass(frozen=True)
class Part:
    """One part of a dataset to make: the devices from `first` to `last`, in order of name.

    The first part also has the readings without a device. Every `sample_step`-th row is part of
    the sample for the reference profile.
    """

    number: int
    first: str | None
    last: str | None
    example_devices: frozenset[str]
    sample_step: int


@dataclass
class PartResult:
    """The counts of a part.

    Attributes:
        lead_in: readings that only fill the windows of later ones.
        rows_in: all other readings; each is a row, a copy, or in quarantine.
        rows: good readings.
        copies: readings that repeat another to the letter.
        reasons: how many were bad, by reason.
        rejected: the same by field and reason, with an example.
        missing, carried: as in the manifest.
        first_time, last_time: of the good readings, ISO 8601, UTC.
        digest: the content hash of `rows_in`.
        field_totals: of the good readings, by field.
        profile: of all readings that are counted.
        examples: from `Examples.in_order`.
        intervals: between good readings of a device, by the later one.
        sample: every `sample_step`-th row.
        baselines: of the devices that have rows, if the contract asks for them.
    """

    intervals: IntervalTally
    lead_in: int = 0
    rows_in: int = 0
    rows: int = 0
    copies: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)
    carried: Counter[str] = field(default_factory=Counter)
    first_time: str | None = None
    last_time: str | None = None
    digest: str = ""
    field_totals: dict[str, FieldTotals] = field(default_factory=dict)
    profile: Profile = field(default_factory=lambda: Profile(fields={}))
    examples: list[dict[str, Any]] = field(default_factory=list)
    sample: pa.Table | None = None
    baselines: dict[str, DeviceBaseline | None] = field(default_factory=dict)


class _Good(NamedTuple):
    """The good readings of a block.

    Attributes:
        rows: int (readings,): their places in the block.
        times: int64 (readings,): microseconds.
        values: of their fields.
        sent: the same without those that were carried.
        devices: their devices.
        is_lead_in: bool (readings,).
    """

    rows: np.ndarray
    times: np.ndarray
    values: Values
    sent: Values
    devices: Devices
    is_lead_in: np.ndarray


def make_part(staged: Path, spec: DatasetSpec, part: Part, into: Path, threads: int) -> PartResult:
    """Make one part of the dataset.

    Writes `features/part-NNNNN.parquet` and, if any row was bad, `quarantine/part-NNNNN.parquet`
    below `into`.

    Args:
        staged: the folder that `stage` wrote.
        threads: of the parser.
    """
    return _PartMaker(spec, part, into, threads).run(staged)


class _PartMaker:
    def __init__(self, spec: DatasetSpec, part: Part, into: Path, threads: int):
        contract = self._contract = spec.contract
        self._part = part
        self._keeps_lead_in = spec.keeps_lead_in
        self._since = pa.scalar(spec.since, TIME).value if spec.since else None
        self._intervals = Intervals(spec.labels) if spec.labels is not None else None
        self._parser = PayloadParser(contract, threads)
        self._checks = RowChecks(contract)
        self._copies = Copies()
        self._carried = CarriedForward(contract)
        self._history = History(contract)
        self._baseline_maker: BaselineMaker | None = None
        self._baselines: Baselines = spec.baselines or {}
        if contract.features.baseline and spec.baselines is None:
            self._baseline_maker = BaselineMaker(contract, contract.features.baseline)
            self._baselines = self._baseline_maker.found
        gap = contract.features.max_gap_seconds
        self._max_gap = int(gap * 1_000_000) if gap else None
        self._run, self._last_time = 0, 0
        self._examples = Examples(
            contract.request_readings,
            part.example_devices,
            contract.longest_carried,
            contract.alarm.lookback,
        )
        self._last_device: str | None = None
        tally = IntervalTally(contract.interval_seconds)
        self._result = PartResult(
            tally,
            field_totals={
                name: FieldTotals.of(contract, rules) for name, rules in contract.fields.items()
            },
        )
        self._devices = DeviceTotals(max(1.0, contract.interval_seconds * 1e6), tally)
        self._late = LateReadings()
        self._labels = np.zeros(3, np.int64)
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

    def run(self, staged: Path) -> PartResult:
        self._features_file.parent.mkdir(parents=True, exist_ok=True)
        result, part, digest = self._result, self._part, ContentHash()
        samples = [self._schema.empty_table()]
        with (
            writing(self._features_file),
            pq.ParquetWriter(
                self._features_file,
                self._schema,
                compression="zstd",
                # Values of features hardly repeat; to check costs more than all the rest.
                use_dictionary=["device", "label"],
            ) as writer,
        ):
            for block in sorted_blocks(staged, part.first, part.last, not part.number, BLOCK_ROWS):
                lead_in = self._lead_in(block)
                counted = block.filter(pa.array(~lead_in)) if lead_in.any() else block
                digest.update(counted)
                result.lead_in += int(lead_in.sum())
                result.rows_in += len(counted)
                rows_before = result.rows
                is_copy = self._copies.of(block)
                result.copies += int((is_copy & ~lead_in).sum())
                if is_copy.any():
                    block, lead_in = block.filter(pa.array(~is_copy)), lead_in[~is_copy]
                features = self._block_features(block, lead_in)
                writer.write_table(features)
                sampled = np.arange(
                    -rows_before % part.sample_step, len(features), part.sample_step
                )
                samples.append(features.take(pa.array(sampled)))
        if self._quarantine:
            with writing(self._quarantine_file):
                self._quarantine.close()
        result.digest = digest.hexdigest()
        result.sample = pa.concat_tables(samples).combine_chunks()
        result.examples = self._examples.in_order()
        result.profile = self._devices.profile(
            result.field_totals, self._labels.tolist(), self._late.count
        )
        if result.rows_in != result.rows + result.copies + result.reasons.total():
            raise InternalError(
                f"part {part.number}: {result.rows_in} rows in, {result.rows} out, "
                f"{result.copies} copies and {result.reasons.total()} quarantined"
            )
        return result

    def _lead_in(self, block: pa.Table) -> np.ndarray:
        """Which readings, bool, only fill the windows of later ones."""
        if self._since is None:
            return np.zeros(len(block), bool)
        early = pc.less(_microseconds(block), self._since).fill_null(False)
        return np.asarray(early.to_numpy(zero_copy_only=False))

    def _block_features(self, block: pa.Table, lead_in: np.ndarray) -> pa.Table:
        good, violations = self._check(block, lead_in)
        counted = ~good.is_lead_in
        self._count(good, counted)
        self._count_devices(block, good, counted, [r for r in violations if not lead_in[r]])
        self._write_quarantine(block, {r: v for r, v in violations.items() if not lead_in[r]})
        every = self._features(block, good)
        features = every if counted.all() else every.filter(pa.array(counted))
        faults, unknown = pc.sum(features["label"]).as_py() or 0, features["label"].null_count
        self._labels += (faults, len(features) - faults - unknown, unknown)
        return every if self._keeps_lead_in else features

    def _check(self, block: pa.Table, lead_in: np.ndarray) -> tuple[_Good, dict[int, Violation]]:
        """The good readings of a block, and what is wrong with the others."""
        is_good, values, violations, missing = self._parser.parse(block["payload"].combine_chunks())
        names, codes = devices = Devices.of(block)
        keep = np.ones(int(is_good.sum()), bool)
        positions = np.flatnonzero(is_good)
        for row, violation in self._checks.violations(block, devices).items():
            violations[row] = violation
            if is_good[row]:
                keep[np.searchsorted(positions, row)] = False
        rows = positions[keep]
        times = _microseconds(block).fill_null(0).to_numpy()[rows]
        first = self._checks.first_of_time(Devices(names, codes[rows]), times)
        for row in rows[~first].tolist():
            later = " that arrived later" if block[ID.name][row].is_valid else ""
            violations[row] = Violation(
                "time",
                "duplicate_time",
                f"time: the device has another reading of that time{later}",
            )
        keep[keep] = first
        rows, times = rows[first], times[first]
        of_rows, values = Devices(names, codes[rows]), _select(values, keep)
        filled = self._carried.fill(of_rows, times, values)
        self._count_missing(rows, ~lead_in[rows], missing, values, filled)
        return _Good(rows, times, filled, values, of_rows, lead_in[rows]), violations

    def _count_missing(
        self,
        rows: np.ndarray,
        counted: np.ndarray,
        missing: list[tuple[int, Violation]],
        before: Values,
        filled: Values,
    ) -> None:
        """Count what is missing, and apart from it what a known value was carried into.

        Args:
            rows: of the good readings.
            counted: bool, of the same; the others only fill windows.
            missing: a row and what is wrong with a value of it.
            before, filled: the values without and with those that were carried.
        """
        carried = {}
        for name in self._contract.carried:
            is_filled = np.isnan(np.asarray(before[name])) & ~np.isnan(np.asarray(filled[name]))
            carried[name] = set(rows[counted & is_filled].tolist())
        self._result.carried.update({n: len(places) for n, places in carried.items() if places})
        if missing:
            of_rows = set(rows[counted].tolist())
            self._result.missing.update(
                f"{found.field}.{found.reason}"
                for row, found in missing
                if row in of_rows and row not in carried.get(found.field, ())
            )

    def _count(self, good: _Good, counted: np.ndarray) -> None:
        result, times = self._result, good.times[counted]
        result.rows += len(times)
        for name, column in _select(good.values, counted).items():
            result.field_totals[name].add(column, times)
        if len(times):
            first, last = (str(np.datetime64(int(t), "us")) for t in (times.min(), times.max()))
            result.first_time = min(filter(None, (result.first_time, first)))
            result.last_time = max(filter(None, (result.last_time, last)))

    def _count_devices(
        self, block: pa.Table, good: _Good, counted: np.ndarray, bad: list[int]
    ) -> None:
        names, codes = good.devices
        places = {name: place for place, name in enumerate(names)} if bad else {}
        of_bad = block["device"].take(pa.array(bad, pa.int64())).to_pylist()
        quarantined = np.array([places.get(name, -1) for name in of_bad], np.int64)
        self._devices.add(DeviceBlock(names, codes, good.times, counted, quarantined))
        ids = block[ID.name].take(pa.array(good.rows[counted])).combine_chunks()
        self._late.add(names, codes[counted], ids)

    def _write_quarantine(self, block: pa.Table, violations: Mapping[int, Violation]) -> None:
        if not violations:
            return
        rows = sorted(violations)
        found = [violations[row] for row in rows]
        self._result.reasons.update(violation.reason for violation in found)
        rows_of = Counter((violation.field, violation.reason) for violation in found)
        first = {(violation.field, violation.reason): violation for violation in reversed(found)}
        here = [
            Rejected(field=field, reason=reason, rows=count, example=str(first[field, reason]))
            for (field, reason), count in rows_of.items()
        ]
        self._result.rejected = by_reason([*self._result.rejected, *here])
        table = block.select(NAIVE_READINGS.names).take(pa.array(rows, pa.int64()))
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
        with writing(self._quarantine_file):
            self._quarantine.write_table(table.cast(QUARANTINE))

    def _features(self, block: pa.Table, good: _Good) -> pa.Table:
        if not len(good.rows):
            return self._schema.empty_table()
        codes, taken = good.devices.codes, pa.array(good.rows)
        starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
        names = [good.devices.names[code] for code in codes[starts].tolist()]
        features = self._history.features(*self._runs(good, names, starts), good.values, good.times)
        ends = [*starts[1:].tolist(), len(codes)]
        if self._contract.features.baseline:
            self._put_beside_baselines(good, names, starts.tolist(), ends, features)
        if self._intervals:
            pieces = zip(names, np.split(good.times, starts[1:]), strict=True)
            label = pa.array(np.concatenate([self._intervals.label(d, t) for d, t in pieces]))
        elif not self._contract.has_labels:  # a column of that name says nothing
            label = pa.nulls(len(good.rows), pa.int8())
        else:
            label = block["label"].take(taken).combine_chunks().cast(pa.int8())
        for name, start, end in zip(names, starts.tolist(), ends, strict=True):
            if name in self._examples.devices and not good.is_lead_in[end - 1]:
                self._examples.record(
                    name,
                    block,
                    good.rows[start:end],
                    label.slice(start, end - start),
                    features[start:end],
                    is_continued=name == self._last_device,
                )
        self._last_device, self._last_time = names[-1], int(good.times[-1])
        columns = [block["device"].take(taken).combine_chunks(), pa.array(good.times).cast(TIME)]
        columns += [pa.array(features[:, k]) for k in range(features.shape[1])]
        return pa.Table.from_arrays([*columns, label], schema=self._schema)

    def _put_beside_baselines(
        self, good: _Good, names: list[str], starts: list[int], ends: list[int], rows: np.ndarray
    ) -> None:
        """Put the features of each device beside its baseline.

        A baseline that is complete within a block is known before the first row that needs it.
        """
        if self._baseline_maker:
            self._baseline_maker.add(good.devices, good.times, good.sent)
        for name, start, end in zip(names, starts, ends, strict=True):
            own = self._baselines.get(name)
            beside(self._contract, rows[start:end], good.times[start:end], own)
            if not good.is_lead_in[end - 1]:
                self._result.baselines[name] = own

    def _runs(
        self, good: _Good, names: list[str], starts: np.ndarray
    ) -> tuple[list[tuple[str, int]], np.ndarray]:
        """The runs of readings without a gap: device and number, and where they start."""
        if self._max_gap is None:
            return [(name, 0) for name in names], starts
        times = good.times
        far = np.diff(times, prepend=self._last_time) > self._max_gap
        far[starts[1:]] = True
        far[0] |= names[0] != self._last_device
        of_runs = np.union1d([0], np.flatnonzero(far))
        numbers = self._run + np.cumsum(far[of_runs])
        self._run = int(numbers[-1])
        devices = np.searchsorted(starts, of_runs, side="right") - 1
        return [(names[d], n) for d, n in zip(devices, numbers.tolist(), strict=True)], of_runs


def _microseconds(block: pa.Table) -> pa.Array:
    return block["time"].combine_chunks().cast(pa.int64())


def _select(values: Values, rows: np.ndarray) -> Values:
    """The values of the rows where `rows` (bool) is true."""
    if rows.all():
        return values
    return {
        name: column.select(rows) if isinstance(column, Vectors) else column[rows]
        for name, column in values.items()
    }
