"""Backtest: train a model as of a past date, evaluate it on the period that follows.

"As of a date" means with readings before it, and with labels that were known by then. A label is
known from the time when it was recorded or, if that is not known, from the end of its fault. A
label in a column of the readings has no time of its own, so it is known together with its reading.

The stores do not record when a reading arrived: a late one looks as if it had arrived on time.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from breezeway.contract.candidates import explicit
from breezeway.contract.contract import Contract
from breezeway.core.days import day_start
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.detector import scorecard
from breezeway.pipeline.periods import refuse_unfinished
from breezeway.readings.intervals import Intervals
from breezeway.readings.label_store import LabelStore

PERIOD_DAYS = 7
"""Days from the date on that the model is evaluated on, by default."""

FIRST_DAY = date(2000, 1, 1)
"""Before any reading."""


@dataclass(frozen=True)
class Known:
    """What was known at a date.

    Args:
        readings: device, time, the features and label (as known then), in any order.
        labels: the fault intervals of the raw store that the labels are from; None if the labels
            are a column of the readings.
        sources: the hash of each day's partition that the readings came from.
    """

    readings: pa.Table
    labels: pa.Table | None
    sources: Mapping[date, str]


@dataclass(frozen=True)
class BacktestFigures:
    """The metrics of the model of a date on the period that followed.

    Args:
        date: the date of the training (ISO 8601).
        until: the first day after the period (ISO 8601).
        known_rows: rows that were known at the date.
        trained_rows: those of them with a label (all, if the contract names none) that the model
            was fitted on: without those that are held out, or, with `[train] refit`, all.
        rows: rows of the period.
        alarms: alarm episodes.
        false_episodes_per_day: false alarm episodes for a day of one device; without labels in the
            contract, all.
        median_delay_seconds: of the events hit, from the start to the first alarm.
        sources: a digest of all inputs.
    """

    date: str
    until: str
    known_rows: int
    trained_rows: int
    rows: int
    average_precision: float | None
    alarms: int
    false_episodes_per_day: float | None
    events: int
    events_hit: int
    median_delay_seconds: float | None
    threshold: float
    sources: str


def known_at(labels: pa.Table) -> pa.ChunkedArray:
    """The time from which on each label was known (UTC)."""
    return pc.coalesce(labels["labelled_at"], labels["end"])


def read_known(settings: Settings, contract: Contract, moment: date) -> Known:
    """All that was known at the beginning of a date.

    Raises:
        UsageError: a day before it is not made yet, or there is no day.
        DataError: it contains something of the future.
        ServiceUnavailable: a store does not answer.
    """
    days = history.open_days(settings, contract, FIRST_DAY, moment - timedelta(days=1))
    readings = _read(days)
    labels = LabelStore(settings.raw_address).labels_of(contract)
    if labels is not None:
        labels = labels.filter(pc.less(known_at(labels), day_start(moment, contract.zone)))
        readings = _relabelled(readings, labels)
    refuse_future(readings, labels, moment, contract.zone)
    return Known(readings, labels, {day: version.hash for day, version in days.items()})


def refuse_future(
    readings: pa.Table, labels: pa.Table | None, moment: date, zone: ZoneInfo
) -> None:
    """Make sure that readings and labels contain nothing of the future.

    Raises:
        DataError: a reading is from the date or later, or a label was not known before it.
    """
    begin = day_start(moment, zone)
    late = readings.filter(pc.greater_equal(readings["time"], begin))
    if len(late):
        row = late.slice(0, 1).to_pylist()[0]
        raise DataError(
            f"As of {moment}: {len(late)} readings are of the future, such as that of "
            f"{row['device']} at {row['time']:%Y-%m-%d %H:%M:%S}."
        )
    if labels is None:
        return
    late = labels.filter(pc.greater_equal(known_at(labels), begin))
    if len(late):
        row = late.slice(0, 1).to_pylist()[0]
        raise DataError(
            f"As of {moment}: {len(late)} labels were not known yet, such as that of "
            f"{row['device']} from {row['start']:%Y-%m-%d %H:%M:%S} on."
        )


def judge(
    settings: Settings, contract: Contract, moment: date, period_days: int
) -> BacktestFigures:
    """Train as of a date, evaluate on the days that follow. The same stores give the same metrics.

    It uses the default parameters of the contract's first family, because tuned ones were chosen
    with data of the future; and so, of a contract with `[features] auto`, its own features.

    Raises:
        UsageError: the period is not over yet, or as `read_known`.
        DataError: a model cannot learn from what was known then, or as `read_known`.
    """
    # XGBoost: two seconds, which a plan does without
    from breezeway.detector.families.registry import families_of, family_of
    from breezeway.detector.fitting import FittedDetector, fit_again, fit_detector
    from breezeway.detector.onnx_scorer import OnnxScorer
    from breezeway.detector.presumed import fit_presumed
    from breezeway.detector.scoring import score_readings
    from breezeway.detector.table import labelled_table, learnable

    refuse_unfinished(moment, period_days, contract.zone)
    until = moment + timedelta(days=period_days)
    known, candidates = read_known(settings, contract, moment), contract
    if contract.features.auto:
        contract = explicit(contract)
    labelled = learnable(known.readings, contract)
    table = labelled_table(labelled, contract)
    family = families_of(contract)[0]
    kind = family_of(family)
    params, rounds = kind.defaults(len(table.features)), kind.default_rounds
    fitted: FittedDetector
    if contract.has_labels:
        fitted = fit_detector(table, contract, params, rounds, settings.threads, family)
    else:
        features, threads = table.features, settings.threads
        fitted = fit_presumed(features, table.rows, contract, family, threads=threads)
    served, trained_rows = fitted.model, len(table.rows.label)
    if contract.train.refit:
        whole = labelled_table(labelled, contract, whole=True)
        trained_rows = len(whole.rows.label)
        served = fit_again(whole, contract, fitted, settings.threads).model
    days = history.open_days(settings, candidates, moment, until - timedelta(days=1))
    readings = _read(days)
    truth = LabelStore(settings.raw_address).labels_of(contract)
    if truth is not None:
        readings = _relabelled(readings, truth)
    readings = learnable(readings, contract)
    score = score_readings(OnnxScorer(served.to_onnx()), contract, readings)
    frame = readings.select(["device", "time", "label"]).append_column("score", pa.array(score))
    sources = {**known.sources, **{day: version.hash for day, version in days.items()}}
    return BacktestFigures(
        date=moment.isoformat(),
        until=until.isoformat(),
        known_rows=len(known.readings),
        trained_rows=trained_rows,
        threshold=fitted.threshold,
        sources=_digest(contract, sources, known.labels, truth, settings.threads),
        **_judged(frame, fitted.threshold, contract.interval_seconds),
    )


def _judged(frame: pa.Table, threshold: float, interval: float) -> dict[str, Any]:
    card = scorecard.scorecard(frame, threshold, interval)
    rows = scorecard.rows_of(frame)
    alarm = (frame["score"].to_numpy() >= threshold)[rows.order]
    nowhere = rows._replace(label=np.zeros_like(rows.label))
    delays = detection_delays(rows, alarm)
    device_days = len(frame) * interval / 86_400
    return {
        "rows": card.rows,
        "average_precision": card.average_precision,
        "alarms": len(scorecard.false_episode_starts(nowhere, alarm, card.horizon_seconds)),
        "false_episodes_per_day": card.false_episodes / device_days if device_days else None,
        "events": card.events,
        "events_hit": card.events_hit,
        "median_delay_seconds": float(np.median(delays)) if len(delays) else None,
    }


def detection_delays(rows: scorecard.Rows, alarm: np.ndarray) -> np.ndarray:
    """Seconds from the start of each event that is hit to its first alarm.

    Args:
        alarm: bool, of the rows.
    """
    begins = scorecard.event_starts(rows)
    event = np.cumsum(begins) - 1
    hits = np.flatnonzero(rows.label & alarm)
    hit, first = np.unique(event[hits], return_index=True)
    delays: np.ndarray = rows.time[hits[first]] - rows.time[np.flatnonzero(begins)[hit]]
    return delays / 1e6


def _read(days: Mapping[date, Any]) -> pa.Table:
    parts = [
        pq.read_table(part)
        for version in days.values()
        for part in sorted((version.folder / "features").glob("part-*.parquet"))
    ]
    return pa.concat_tables(parts)


def _relabelled(readings: pa.Table, labels: pa.Table) -> pa.Table:
    """The readings with labels from some intervals."""
    intervals = Intervals(labels)
    times = readings["time"].cast(pa.int64()).to_numpy()
    coded = readings["device"].combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy()
    label = np.zeros(len(readings), np.int8)
    for code, device in enumerate(coded.dictionary.to_pylist()):
        mine = np.flatnonzero(codes == code)
        label[mine] = intervals.label(device, times[mine])
    place = readings.column_names.index("label")
    return readings.set_column(place, "label", pa.array(label))


def _digest(
    contract: Contract,
    sources: Mapping[date, str],
    known: pa.Table | None,
    truth: pa.Table | None,
    threads: int,
) -> str:
    listed = {day.isoformat(): hash for day, hash in sorted(sources.items())}
    labels = [[str(row) for row in each.to_pylist()] for each in (known, truth) if each is not None]
    text = json.dumps([contract.text, listed, labels, threads])
    return hashlib.sha256(text.encode()).hexdigest()
