"""Raw readings to a dataset: staged on disk, sorted, checked, and turned into features, in parts.

The devices of a part depend only on names and row counts, so the dataset is the same for any number
of processes. Only files grow with the number of rows, memory does not.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from breezeway.contract.baselines import Baselines, write_baselines
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, InternalError
from breezeway.core.files import write_json
from breezeway.core.settings import Settings
from breezeway.preprocessing.content_hash import combined
from breezeway.preprocessing.examples import example_devices
from breezeway.preprocessing.manifest import (
    MOST_REJECTED,
    Manifest,
    RawSummary,
    baseline_counts,
    by_reason,
)
from breezeway.preprocessing.part import Part, PartResult, make_part
from breezeway.preprocessing.profile import Profile, merged
from breezeway.preprocessing.spacing import IntervalTally
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.preprocessing.splitting import SplitRows
from breezeway.preprocessing.staging import device_counts, stage

log = logging.getLogger("breezeway")

PART_ROWS = 1_000_000
"""Devices are added to a part until it has this many rows. Smaller parts can use more processes of
a cluster, but each process takes time to start; larger parts take more memory, 24 bytes a row."""
NAMED_REASONS = 5
"""In an error and in the log; the manifest has more."""
PROFILE_ROWS = 50_000
"""Rows of the sample for the reference profile; up to twice as many are taken."""


class Tried(NamedTuple):
    """What would be made of some readings.

    Attributes:
        manifest, profile: of the dataset.
        objections: a sentence for each reason to refuse it as a whole.
    """

    manifest: Manifest
    profile: Profile
    objections: list[str]


def plan_parts(staged: Path) -> list[Part]:
    """Assign the staged devices to parts."""
    devices = list(device_counts(staged).items())
    examples = frozenset(example_devices([name for name, _ in devices]))
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


def make_dataset(
    chunks: Iterable[pa.Table], spec: DatasetSpec, folder: Path, settings: Settings
) -> Manifest:
    """Make a dataset folder from raw readings.

    Args:
        chunks: tables of device, time, payload and label.
        spec: the dataset to make.
        folder: an empty folder; gets `features/`, `quarantine/`, `contract.toml`,
            `manifest.json`, `profile.json`, `reference.json` and `examples.json`; and
            `baselines.json`, if the contract asks for it.
        settings: `threads` of one process, and from how many rows on (`ray_min_rows`) parts are
            made by a local Ray even where `RAY_ADDRESS` names no cluster.

    Returns:
        What the folder's manifest says.

    Raises:
        DataError: there is no row, too many are bad, or a batch expectation is not met; the
            files in `folder` show why.
    """
    manifest, results = make_features(chunks, spec, folder, settings)
    if not manifest.raw.rows:
        raise DataError("query: it returned no row")
    for sentence in broken_expectations(spec.contract, manifest, results):
        raise DataError(sentence)
    examples = [example for result in results for example in result.examples]
    write_json(folder / "examples.json", examples)
    write_json(folder / "reference.json", _profile(results, spec.contract))
    return manifest


def make_features(
    chunks: Iterable[pa.Table], spec: DatasetSpec, folder: Path, settings: Settings
) -> tuple[Manifest, list[PartResult]]:
    """Make features from raw readings, without the checks of the batch as a whole.

    Args:
        as for `make_dataset`; `folder` gets `features/`, `quarantine/`, `contract.toml`,
            `manifest.json` and `profile.json`.

    Returns:
        What the folder's manifest says, and what each part counted.

    Raises:
        DataError: there is no row at all.
    """
    staging = folder.with_name(f"{folder.name}.staging")
    staging.mkdir()
    splitter = spec.contract.splitter
    split = SplitRows(chunks, spec.contract, splitter, spec.since) if splitter else None
    rows_in = stage(split or chunks, staging)
    if not rows_in:
        raise DataError("query: it returned no row")
    parts = plan_parts(staging)
    log.info("%d raw readings staged; making %d part(s)", rows_in, len(parts))
    if os.environ.get("RAY_ADDRESS") or rows_in >= settings.ray_min_rows:
        results = _on_ray(staging, spec, parts, folder, settings.threads)
    else:
        results = [make_part(staging, spec, part, folder, settings.threads) for part in parts]
    manifest = _manifest(spec, results, split.payloads if split else None)
    seen = manifest.raw.rows + sum(result.lead_in for result in results)
    if seen != rows_in:
        raise InternalError(f"{rows_in} rows staged, {seen} seen")
    for rejected in manifest.rejected[:NAMED_REASONS]:
        log.warning("rejected: %s", rejected)
    manifest.write(folder)
    if spec.contract.features.baseline:
        write_baselines(_baselines(results), folder)
    merged((result.profile for result in results), spec.contract).write(folder)
    (folder / "contract.toml").write_text(spec.contract.text, encoding="utf-8")
    return manifest, results


def try_readings(
    chunks: Iterable[pa.Table], spec: DatasetSpec, folder: Path, threads: int
) -> Tried:
    """Say what `make_dataset` would make of some readings. No Ray is started.

    Args:
        folder: for what is made on the way; `quarantine` in it has the readings that broke the
            contract.
    """
    staging = folder / "staging"
    staging.mkdir()
    splitter = spec.contract.splitter
    split = SplitRows(chunks, spec.contract, splitter, spec.since) if splitter else None
    stage(split or chunks, staging)
    parts = plan_parts(staging)
    results = [make_part(staging, spec, part, folder, threads) for part in parts]
    manifest = _manifest(spec, results, split.payloads if split else None)
    profile = merged((result.profile for result in results), spec.contract)
    return Tried(manifest, profile, list(broken_expectations(spec.contract, manifest, results)))


def _baselines(results: list[PartResult]) -> Baselines:
    return {name: own for result in results for name, own in result.baselines.items()}


def _on_ray(
    staged: Path, spec: DatasetSpec, parts: list[Part], folder: Path, threads: int
) -> list[PartResult]:
    """Run `make_part` for each part: a task with one thread, because Ray counts it as one CPU.

    On a cluster of several hosts `staged` and `folder` must be on a shared file system.
    """
    from breezeway.core.ray_session import ray_session  # before Ray, which it prepares

    # isort: split
    import ray

    with ray_session(threads):
        task = ray.remote(make_part)
        shared = ray.put(spec)
        return ray.get([task.remote(staged, shared, part, folder, 1) for part in parts])


def _manifest(spec: DatasetSpec, results: list[PartResult], payloads: int | None) -> Manifest:
    reasons: Counter[str] = sum((result.reasons for result in results), Counter())
    missing: Counter[str] = sum((result.missing for result in results), Counter())
    carried: Counter[str] = sum((result.carried for result in results), Counter())
    intervals = IntervalTally(spec.contract.interval_seconds)
    for result in results:
        intervals.merge(result.intervals)
    return Manifest(
        contract=spec.contract.name,
        query=spec.query,
        raw=RawSummary(
            rows=sum(result.rows_in for result in results),
            payloads=payloads,
            first_time=min((r.first_time for r in results if r.first_time), default=None),
            last_time=max((r.last_time for r in results if r.last_time), default=None),
            sha256=combined(result.digest for result in results),
        ),
        rows=sum(result.rows for result in results),
        copies=sum(result.copies for result in results),
        quarantined=reasons.total(),
        reasons=dict(sorted(reasons.items())),
        rejected=by_reason(each for result in results for each in result.rejected)[:MOST_REJECTED],
        missing=dict(sorted(missing.items())),
        carried=dict(sorted(carried.items())),
        spacing=intervals.spacing(),
        **baseline_counts(spec.contract, _baselines(results)),
        features=spec.contract.feature_names,
    )


def broken_expectations(
    contract: Contract, manifest: Manifest, results: list[PartResult]
) -> Iterator[str]:
    """One sentence for each rule of the contract that the batch as a whole breaks."""
    bad, all_rows = manifest.quarantined, manifest.raw.rows - manifest.copies
    if bad > contract.quarantine.max_share * all_rows or not manifest.rows:
        reasons = "; ".join(map(str, manifest.rejected[:NAMED_REASONS]))
        above = f", more than {contract.quarantine.max_share:.1%}" if manifest.rows else ""
        yield f"quarantine.max_share: {bad} of {all_rows} rows were rejected{above}: {reasons}"
    for name, field in contract.fields.items():
        totals = [result.field_totals[name] for result in results]
        count, nulls = sum(part.count for part in totals), sum(part.nulls for part in totals)
        total = sum(part.sum for part in totals)
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
    """A profile of the features: the reference that later readings are compared with."""
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
