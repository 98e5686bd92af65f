"""Scores the readings of days, or of a query, and publishes the predictions as a dataset version.

Each day is read from the raw store with as many readings before midnight as its first windows and
the look-back of the alarm need. So a score is that of one long run, and of the server, to the last
bit. Readings that break the contract have no score; they are counted, and the rest is scored.

`breezeway.steps.score` is the command.
"""

import hashlib
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from breezeway.contract.contract import load_contract
from breezeway.core.days import day_start
from breezeway.core.errors import BreezewayError
from breezeway.core.files import write_json
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.detector.scoring import ScoringModel
from breezeway.pipeline import predictions, scores_page
from breezeway.pipeline.predictions import Tally
from breezeway.pipeline.training import code_version
from breezeway.preprocessing.content_hash import combined
from breezeway.preprocessing.dataset import broken_expectations, make_features
from breezeway.preprocessing.days import DayReadings
from breezeway.preprocessing.manifest import MOST_REJECTED, Manifest, Rejected, by_reason
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.prediction_store import PredictionStore
from breezeway.readings.store import open_store
from breezeway.tracking.load import load
from breezeway.tracking.page_runs import record_page

log = logging.getLogger("breezeway")

QUERY_LETTERS = 8
"""Of the digest of a query, in the name of what is made by it."""
MOST_DEVICES = 20
"""The devices with the most alarms that a manifest names."""
MOST_WARNINGS = 20
PAGE = "scores.html"


@dataclass(frozen=True)
class Asked:
    """The readings to score: those of a query, or those of all days from a first to a last one."""

    query: str = ""
    first: date = date.min
    last: date = date.min

    def stem(self, name: str, version: str) -> str:
        """The tags of these predictions, without their numbers."""
        if self.query:
            digest = hashlib.sha256(self.query.encode()).hexdigest()[:QUERY_LETTERS]
            return f"{name}-scores-{version}-query-{digest}"
        last = f"-{self.last:%Y%m%d}" if self.last > self.first else ""
        return f"{name}-scores-{version}-{self.first:%Y%m%d}{last}"


class ScoredReadings(BaseModel):
    """The readings of a day, or of a query, and what became of them.

    Attributes:
        read: readings that were read.
        copies: readings that repeat another to the letter; they are left out.
        quarantined: readings that broke the contract; each other one is a row.
        sha256: of the content of all readings.
        rows: predictions.
        alarms: those in alarm.
        episodes: alarm episodes. One that goes on over midnight is one of both days.
    """

    model_config = ConfigDict(frozen=True)

    read: int
    copies: int
    quarantined: int
    sha256: str
    rows: int
    alarms: int
    episodes: int


class ScoresManifest(BaseModel):
    """The manifest of a dataset of predictions.

    Attributes:
        kind: tells it from other datasets.
        model_name, model_version: of the registered model.
        lineage: of the model: its data, parameters and run.
        contract: the name of the model's own contract, by which readings were checked.
        threshold: the score from which on a reading is in alarm.
        query: of the readings; None if days were asked for.
        first_day, last_day: these days, ISO 8601; None for a query.
        time_zone: of the days.
        first_time, last_time: of the predictions, ISO 8601, UTC; None if there is none.
        days: by day, or under `query`. Days without a reading are left out.
        rows, alarms, episodes, read, copies, quarantined: of all days.
        sha256: of the content of all readings.
        devices: alarms of the devices that have the most.
        reasons: quarantined readings by reason.
        rejected: the same by field and reason, with an example.
        warnings: what the readings of a day as a whole break in the contract.
        code: the version of the code.
    """

    model_config = ConfigDict(frozen=True)

    kind: str = "scores"
    model_name: str
    model_version: str
    lineage: dict[str, str]
    contract: str
    threshold: float
    query: str | None
    first_day: str | None
    last_day: str | None
    time_zone: str
    first_time: str | None
    last_time: str | None
    days: dict[str, ScoredReadings]
    rows: int
    alarms: int
    episodes: int
    read: int
    copies: int
    quarantined: int
    sha256: str
    devices: dict[str, int]
    reasons: dict[str, int]
    rejected: list[Rejected]
    warnings: list[str]
    code: str


@dataclass
class _Found:
    """What the days have together, so far."""

    tally: Tally = field(default_factory=Tally)
    days: dict[str, ScoredReadings] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, key: str, manifest: Manifest, tally: Tally, warnings: list[str]) -> None:
        self.tally.merge(tally)
        self.reasons.update(manifest.reasons)
        self.rejected = by_reason([*self.rejected, *manifest.rejected])[:MOST_REJECTED]
        self.warnings += [f"{key}: {sentence}" for sentence in warnings]
        del self.warnings[MOST_WARNINGS:]
        self.days[key] = ScoredReadings(
            read=manifest.raw.rows,
            copies=manifest.copies,
            quarantined=manifest.quarantined,
            sha256=manifest.raw.sha256,
            rows=tally.rows,
            alarms=tally.alarms.total(),
            episodes=tally.episodes.total(),
        )


def score(
    settings: Settings, name: str, version: str, asked: Asked, *, in_table: bool
) -> dict[str, Any]:
    """Score readings by a version, and publish the predictions.

    It may be repeated, and killed at any point: the tag is set last, the same predictions get the
    same tag, and the table has each prediction once.

    Args:
        name, version: of the registered model.
        in_table: whether the predictions are put into the table `predictions` of the raw store
            too.

    Returns:
        The result of the step; `tag` is None if there is nothing to score.

    Raises:
        UsageError: there is no such version, the query is not one SELECT, or the table is not
            Breezeway's.
        DataError: the query gives no row.
        TryAgain: another was publishing for too long.
        ServiceUnavailable: MLflow, the raw store, Ray or the store of dataset versions does not
            answer.
    """
    started = time.time()
    model = load(settings, name, version)
    with scratch(settings, "score") as work:
        folder = work / "dataset"
        (folder / predictions.FOLDER).mkdir(parents=True)
        found = _score(settings, model, asked, work, folder)
        result: dict[str, Any] = {"model_name": name, "model_version": model.version, "tag": None}
        if found.days:
            manifest = _manifest(settings, model, asked, found)
            write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
            stem = asked.stem(name, model.version)
            message = f"{manifest.rows} predictions of {name} {model.version}"
            result["tag"] = history.publish_revision(settings, folder, stem, message).tag
            if in_table:
                store = PredictionStore(settings.raw_address)
                written = store.write(predictions.read(folder), name, model.version)
                result["table_rows"] = written
            result |= _show(settings, model, manifest, result["tag"], started)
        else:
            log.warning("No reading of these days is in the raw store: nothing to score.")
    return result | {
        "rows": found.tally.rows,
        "alarms": found.tally.alarms.total(),
        "episodes": found.tally.episodes.total(),
        "quarantined": found.reasons.total(),
        "days": 0 if asked.query else len(found.days),
        "warnings": [sentence[:200] for sentence in found.warnings[:3]],
        "seconds": round(time.time() - started, 1),
    }


def _score(
    settings: Settings, model: ScoringModel, asked: Asked, work: Path, folder: Path
) -> _Found:
    """Score all that is asked for, one day after the other; fills the folder of predictions."""
    found, store, contract = _Found(), open_store(settings), model.contract
    label = contract.label.column
    if asked.query:
        spec = DatasetSpec(contract, asked.query, baselines=model.baselines)
        chunks = store.stream(asked.query, label=label, with_ids=True)
        found.add("query", *_score_readings(settings, model, chunks, spec, work, folder, "query"))
        return found
    # Not the model's, which may be older.
    zone = load_contract(settings.sensors).zone
    for day in store.count_by_day(asked.first, asked.last, zone):
        query = store.query_of_days(day, day, zone, label)
        lookback = contract.alarm.lookback
        readings = DayReadings(store, contract, day, query, zone, scored=lookback)
        spec = DatasetSpec(
            contract,
            query,
            since=day_start(day, zone),
            baselines=model.baselines,
            keeps_lead_in=True,
        )
        key = day.isoformat()
        scored = _score_readings(
            settings, model, iter(readings), spec, work, folder, f"{day:%Y%m%d}"
        )
        found.add(key, *scored)
        log.info("%s: %d predictions, %d alarms", key, scored[1].rows, scored[1].alarms.total())
    return found


def _score_readings(
    settings: Settings,
    model: ScoringModel,
    chunks: Iterator[Any],
    spec: DatasetSpec,
    work: Path,
    folder: Path,
    name: str,
) -> tuple[Manifest, Tally, list[str]]:
    """Make features and score them, a part after the other, or each in a task of a Ray cluster.

    Args:
        work: for the features, which are removed again.
        folder: gets `predictions/part-<name>-<number>.parquet`.
    """
    features = work / "features"
    features.mkdir()
    manifest, results = make_features(chunks, spec, features, settings)
    parts = sorted((features / "features").glob("part-*.parquet"))
    target = folder / predictions.FOLDER
    files = [target / part.name.replace("part-", f"part-{name}-", 1) for part in parts]
    tally = Tally()
    for each in _write_parts(settings, model, parts, spec.since, files):
        tally.merge(each)
    shutil.rmtree(features)
    shutil.rmtree(features.with_name(f"{features.name}.staging"), ignore_errors=True)
    return manifest, tally, list(broken_expectations(spec.contract, manifest, results))


def _write_parts(
    settings: Settings,
    model: ScoringModel,
    parts: list[Path],
    since: datetime | None,
    files: list[Path],
) -> list[Tally]:
    """Score files of features; on a cluster of several hosts all have to see the work folder."""
    pairs = list(zip(parts, files, strict=True))
    # On one machine the parts follow each other: memory stays flat.
    if len(pairs) < 2 or not os.environ.get("RAY_ADDRESS"):
        return [predictions.write_part(model, part, since, file) for part, file in pairs]
    from breezeway.core.ray_session import ray_session  # before Ray, which it prepares

    # isort: split
    import ray

    with ray_session(settings.threads):
        task = ray.remote(predictions.write_part)
        shared = ray.put(model)
        found: list[Tally] = ray.get(
            [task.remote(shared, part, since, file) for part, file in pairs]
        )
        return found


def _manifest(
    settings: Settings, model: ScoringModel, asked: Asked, found: _Found
) -> ScoresManifest:
    days, tally = found.days.values(), found.tally
    devices = sorted(tally.alarms.items(), key=lambda each: (-each[1], each[0]))
    return ScoresManifest(
        model_name=model.name,
        model_version=model.version,
        lineage=model.lineage,
        contract=model.contract.name,
        threshold=model.threshold,
        query=asked.query or None,
        first_day=None if asked.query else asked.first.isoformat(),
        last_day=None if asked.query else asked.last.isoformat(),
        time_zone=str(load_contract(settings.sensors).zone),
        first_time=_iso(tally.first_time),
        last_time=_iso(tally.last_time),
        days=found.days,
        rows=tally.rows,
        alarms=tally.alarms.total(),
        episodes=tally.episodes.total(),
        read=sum(each.read for each in days),
        copies=sum(each.copies for each in days),
        quarantined=found.reasons.total(),
        sha256=combined(each.sha256 for each in days),
        devices=dict(devices[:MOST_DEVICES]),
        reasons=dict(sorted(found.reasons.items())),
        rejected=found.rejected,
        warnings=found.warnings,
        code=settings.code or code_version(),
    )


def _iso(microseconds: int | None) -> str | None:
    return None if microseconds is None else f"{np.datetime64(microseconds, 'us')}Z"


def _show(
    settings: Settings, model: ScoringModel, manifest: ScoresManifest, tag: str, started: float
) -> dict[str, str]:
    """Put a page among the reports. The predictions are worth more: without MLflow it is left
    out, and the log says why."""
    page = scores_page.draw(manifest.model_dump(), tag)
    told = "\n".join([tag, settings.run_id or ""])
    try:
        run_id = record_page(
            settings,
            model.contract.name,
            f"score {tag}",
            page.encode(),
            key=hashlib.sha256(told.encode()).hexdigest(),
            titles={PAGE: f"Predictions {tag}"},
            step="score",
            started=started,
        )
    except BreezewayError as error:
        log.warning("The page of the predictions is not among the reports: %s", error)
        return {}
    return {"run_id": run_id}
