"""Raw readings to a dataset: staged on disk, sorted, checked, made into features, in parts.

Devices are dealt to parts by their names and row counts alone, so the dataset is the same
however many processes make it. Nothing grows with the rows but files.
"""

import dataclasses
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from breezeway.contract.contract import Contract, Violation
from breezeway.contract.expressions import Vectors
from breezeway.contract.features import History
from breezeway.core.errors import DataError
from breezeway.preprocessing.payloads import PayloadParser
from breezeway.preprocessing.staging import RAW_SCHEMA, device_counts, sorted_blocks, stage

log = logging.getLogger("breezeway")

PART_ROWS = 1_000_000
"""Devices are added to a part until it has this many rows: fewer make more work for a cluster's
processes, each with its own start; more take more memory, 20 bytes a row."""
BLOCK_ROWS = 65_536
EXAMPLES = 16
PROFILE_ROWS = 50_000
"""Rows, or up to twice as many, that the reference profile is taken from."""

QUARANTINE_SCHEMA = pa.schema(
    [*RAW_SCHEMA, ("reason", pa.string()), ("field", pa.string()), ("message", pa.string())]
)


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


def plan_parts(staged: Path) -> list[Part]:
    """Deal the staged devices to parts."""
    devices = list(device_counts(staged).items())
    step = max(1, -(-len(devices) // EXAMPLES))
    examples = frozenset(name for name, _ in devices[::step])
    sample_step = max(1, sum(count for _, count in devices) // PROFILE_ROWS)
    groups: list[list[str]] = [[]]
    rows = 0
    for name, count in devices:
        if rows >= PART_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(name)
        rows += count
    return [
        Part(
            number,
            group[0] if group else None,
            group[-1] if group else None,
            examples.intersection(group),
            sample_step,
        )
        for number, group in enumerate(groups)
    ]


class Intervals:
    """Label intervals by device: half open, from `start` to before `end`.

    Args:
        table: device, start and end (timestamps), in any order; they may overlap.
    """

    def __init__(self, table: pa.Table):
        starts = table["start"].cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
        ends = table["end"].cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
        edges: dict[str, list[tuple[int, int]]] = {}
        devices = table["device"].to_pylist()
        for row, (device, start, end) in enumerate(zip(devices, starts, ends, strict=True)):
            if device is None or start is None or end is None or end <= start:
                raise DataError(
                    f"labels row {row} (device {device!r}): expected a device and a start "
                    "before its end"
                )
            edges.setdefault(device, []).append((start, end))
        self._edges = {
            device: (
                np.sort([start for start, _ in pairs]),
                np.sort([end for _, end in pairs]),
            )
            for device, pairs in edges.items()
        }

    def label(self, device: str, times: np.ndarray) -> np.ndarray:
        """1 where a time (int64 microseconds) lies in an interval, else 0."""
        if device not in self._edges:
            return np.zeros(len(times), np.int8)
        starts, ends = self._edges[device]
        begun = np.searchsorted(starts, times, side="right")
        ended = np.searchsorted(ends, times, side="right")
        return (begun > ended).astype(np.int8)


class _Digest:
    """A content hash of readings that does not depend on how they come in blocks."""

    def __init__(self):
        self._columns = {name: hashlib.sha256() for name in RAW_SCHEMA.names}

    def update(self, block: pa.Table) -> None:
        if not len(block):
            return
        for name in RAW_SCHEMA.names:
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
        return _combined(column.hexdigest() for column in self._columns.values())


def _combined(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def make_part(
    staged: Path,
    contract: Contract,
    labels: pa.Table | None,
    part: Part,
    into: Path,
    threads: int,
    since: datetime | None,
) -> PartResult:
    """Make one part of the dataset.

    Writes `features/part-NNNNN.parquet` and, if any row was bad, `quarantine/part-NNNNN.parquet`
    below `into`.
    """
    return _PartMaker(contract, labels, part, into, threads, since).run(staged)


class _PartMaker:
    def __init__(
        self,
        contract: Contract,
        labels: pa.Table | None,
        part: Part,
        into: Path,
        threads: int,
        since: datetime | None,
    ):
        self._contract = contract
        self._part = part
        self._since = pa.scalar(since, pa.timestamp("us", tz="UTC")).value if since else None
        self._intervals = Intervals(labels) if labels is not None else None
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
                ("time", pa.timestamp("us", tz="UTC")),
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
                self._quarantine_file, QUARANTINE_SCHEMA, compression="zstd"
            )
        self._quarantine.write_table(table.cast(QUARANTINE_SCHEMA))

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
        utc = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
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
                    {"time": r["time"].isoformat() + "Z", "payload": r["payload"]} for r in readings
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


def make_dataset(
    chunks: Iterable[pa.Table],
    contract: Contract,
    labels: pa.Table | None,
    query: str,
    folder: Path,
    threads: int,
    ray_min_rows: int,
    since: datetime | None = None,
) -> dict[str, Any]:
    """Make a dataset folder of raw readings.

    Args:
        chunks: tables of device, time, payload and label.
        contract: says what is checked and made.
        labels: device, start and end of events, if the contract's label is a table.
        query: where the readings come from; kept in the manifest.
        folder: an empty folder; gets `features/`, `quarantine/`, `contract.toml`,
            `manifest.json`, `reference.json` and `examples.json`.
        threads: of one process.
        ray_min_rows: from this many rows on parts are made by a local Ray even where
            `RAY_ADDRESS` names no cluster.
        since: readings before this moment fill the windows of later ones and nothing else.

    Returns:
        The manifest.

    Raises:
        DataError: no row, too many bad ones, or a batch expectation is not met; `folder` then
            holds what was found.
    """
    manifest, results = make_features(
        chunks, contract, labels, query, folder, threads, ray_min_rows, since
    )
    if not manifest["raw"]["rows"]:
        raise DataError("query: it returned no row")
    for sentence in broken_expectations(contract, manifest, results):
        raise DataError(sentence)
    examples = [example for result in results for example in result.examples]
    _write_json(folder / "examples.json", examples)
    _write_json(folder / "reference.json", _profile(results, contract))
    return manifest


def make_features(
    chunks: Iterable[pa.Table],
    contract: Contract,
    labels: pa.Table | None,
    query: str,
    folder: Path,
    threads: int,
    ray_min_rows: int,
    since: datetime | None = None,
) -> tuple[dict[str, Any], list[PartResult]]:
    """Make features of raw readings, whatever the batch as a whole looks like.

    Args:
        as for `make_dataset`; `folder` gets `features/`, `quarantine/`, `contract.toml` and
            `manifest.json`.

    Returns:
        The manifest, and what each part counted.

    Raises:
        DataError: there is no row at all.
    """
    staging = folder.with_name(f"{folder.name}.staging")
    staging.mkdir()
    rows_in = stage(chunks, staging)
    if not rows_in:
        raise DataError("query: it returned no row")
    parts = plan_parts(staging)
    log.info("%d raw rows staged; making %d part(s)", rows_in, len(parts))
    if os.environ.get("RAY_ADDRESS") or rows_in >= ray_min_rows:
        results = _on_ray(staging, contract, labels, parts, folder, threads, since)
    else:
        results = [
            make_part(staging, contract, labels, part, folder, threads, since) for part in parts
        ]
    manifest = _manifest(contract, query, results)
    seen = manifest["raw"]["rows"] + sum(result.lead_in for result in results)
    if seen != rows_in:
        raise AssertionError(f"{rows_in} rows staged, {seen} seen")
    _write_json(folder / "manifest.json", manifest)
    (folder / "contract.toml").write_text(contract.text, encoding="utf-8")
    return manifest, results


def _on_ray(
    staged: Path,
    contract: Contract,
    labels: pa.Table | None,
    parts: list[Part],
    folder: Path,
    threads: int,
    since: datetime | None,
) -> list[PartResult]:
    """As `make_part` for each part: a task of one thread, for one CPU is what Ray counts with.

    On a cluster of several hosts `staged` and `folder` must lie where all of them see them.
    """
    from breezeway.core.ray_session import ray, ray_session

    with ray_session(threads):
        task = ray.remote(make_part)
        shared = ray.put(labels)
        return ray.get(
            [task.remote(staged, contract, shared, part, folder, 1, since) for part in parts]
        )


def _manifest(contract: Contract, query: str, results: list[PartResult]) -> dict[str, Any]:
    reasons = sum((result.reasons for result in results), Counter())
    return {
        "contract": contract.name,
        "query": query,
        "raw": {
            "rows": sum(result.rows_in for result in results),
            "first_time": min((r.first_time for r in results if r.first_time), default=None),
            "last_time": max((r.last_time for r in results if r.last_time), default=None),
            "sha256": _combined(result.digest for result in results),
        },
        "rows": sum(result.rows for result in results),
        "quarantined": reasons.total(),
        "reasons": dict(sorted(reasons.items())),
        "features": contract.feature_names,
    }


def broken_expectations(
    contract: Contract, manifest: dict[str, Any], results: list[PartResult]
) -> Iterator[str]:
    """Sentences on what breaks the contract in the batch as a whole."""
    bad, all_rows = manifest["quarantined"], manifest["raw"]["rows"]
    if bad > contract.quarantine.max_share * all_rows or not manifest["rows"]:
        reasons = ", ".join(f"{n} {reason}" for reason, n in manifest["reasons"].items())
        yield (
            f"quarantine.max_share: {bad} of {all_rows} rows break the contract ({reasons}); "
            f"at most {contract.quarantine.max_share:.1%} may"
        )
    for name, field in contract.fields.items():
        count, nulls, total = (
            sum(result.field_totals[name][k] for result in results) for k in range(3)
        )
        allowed, mean = field.batch.null_share, field.batch.mean
        if allowed is not None and nulls > allowed * count:
            yield (
                f"fields.{name}.batch.null_share: {nulls / count:.1%} of the values are null; "
                f"at most {allowed:.1%} may be"
            )
        if mean and count > nulls and not mean[0] <= total / (count - nulls) <= mean[1]:
            yield (
                f"fields.{name}.batch.mean: the mean is {total / (count - nulls):.6g} "
                f"{field.unit}".rstrip()
                + f", expected {mean[0]:g} to {mean[1]:g}"
            )


def _profile(results: list[PartResult], contract: Contract) -> dict[str, Any]:
    """What features look like: the reference that later readings are compared with."""
    sample = pa.concat_tables(result.sample for result in results)
    levels = np.linspace(0, 1, 21)
    features = {}
    for name in contract.feature_names:
        column = sample[name].to_numpy()
        there = column[~np.isnan(column)]
        features[name] = {
            "null_share": float(np.isnan(column).mean()),
            "mean": float(there.mean()) if len(there) else None,
            "std": float(there.std()) if len(there) else None,
            "quantiles": np.quantile(there, levels).tolist() if len(there) else None,
        }
    rows = sum(result.rows for result in results)
    return {"rows": rows, "sampled_rows": len(sample), "features": features}


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
