"""How the model would have done: trained as of a date, judged on the period that follows.

As of a date means: readings before it, and labels that were known by then. A label is known from
the moment at which somebody noted it, or, where nobody did, from the end of its fault. A label that
stands in a column of the readings has no moment of its own; it counts as known with its reading.
What stands in no store can't be undone: a reading that came in late looks as if it had been there.

As a command: the dates, their rows and the time that they will take; without `--dry-run` also
the backtest itself, one date after the other.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.detector import scorecard
from breezeway.preprocessing.days import midnight
from breezeway.readings.intervals import Intervals
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore

if TYPE_CHECKING:
    from breezeway.detector.table import Table

PERIOD_DAYS = 7
"""Days after the date that the model is judged on, unless another number is asked for."""

FIRST_DAY = date(2000, 1, 1)
"""Before any reading."""


@dataclass(frozen=True)
class Known:
    """What was known at a date.

    Args:
        readings: device, time, the features and label (as known then), in any order.
        labels: the fault intervals that the labels are made of, as `LABELS`; None where they
            are a column of the readings.
        sources: the hash of each day's partition; what the readings came from.
    """

    readings: pa.Table
    labels: pa.Table | None
    sources: Mapping[date, str]


def known_at(labels: pa.Table) -> pa.ChunkedArray:
    """From when on each label was known (UTC)."""
    return pc.coalesce(labels["labelled_at"], labels["end"])


def read_known(settings: Settings, contract: Contract, moment: date) -> Known:
    """All that was known at the beginning of a date.

    Raises:
        UsageError: a day before it is not made yet, or there is none.
        DataError: something of the future is among it.
        ServiceUnavailable: a store does not answer.
    """
    days = history.open_days(settings, contract, FIRST_DAY, moment - timedelta(days=1))
    readings = _read(days)
    labels = LabelStore(settings.raw_address).labels_of(contract)
    if labels is not None:
        labels = labels.filter(pc.less(known_at(labels), midnight(moment)))
        readings = _relabelled(readings, labels)
    refuse_future(readings, labels, moment)
    return Known(readings, labels, {day: version.hash for day, version in days.items()})


def refuse_future(readings: pa.Table, labels: pa.Table | None, moment: date) -> None:
    """Make sure that nothing of the future is there, however it was read.

    Raises:
        DataError: a reading is of the date or later, or a label was not known before it.
    """
    late = readings.filter(pc.greater_equal(readings["time"], midnight(moment)))
    if len(late):
        row = late.slice(0, 1).to_pylist()[0]
        raise DataError(
            f"As of {moment}: {len(late)} readings are of the future, such as that of "
            f"{row['device']} at {row['time']:%Y-%m-%d %H:%M:%S}."
        )
    if labels is None:
        return
    late = labels.filter(pc.greater_equal(known_at(labels), midnight(moment)))
    if len(late):
        row = late.slice(0, 1).to_pylist()[0]
        raise DataError(
            f"As of {moment}: {len(late)} labels were not known yet, such as that of "
            f"{row['device']} from {row['start']:%Y-%m-%d %H:%M:%S} on."
        )


def judge(settings: Settings, contract: Contract, moment: date, period_days: int) -> dict[str, Any]:
    """Train as of a date and judge on the days that follow. The same stores give the same figures.

    The parameters are the defaults: those tuned today have seen the future.

    Returns:
        `date`, `until` (the first day that is not judged), `known_rows`, `trained_rows` (without
        those that the contract keeps back), `rows` (judged), `average_precision`, `alarms`
        (episodes), `false_episodes_per_day` (of a device), `events`, `events_hit`,
        `median_delay_seconds` (of the events hit), `threshold`, and `sources`, a digest of all
        that went in.

    Raises:
        UsageError: the period is not over yet, or as `read_known`.
        DataError: what was known then teaches nothing, or as `read_known`.
    """
    from breezeway.detector.table import labelled_table

    until = moment + timedelta(days=period_days)
    if until > datetime.now(UTC).date():
        raise UsageError(f"The {period_days} days from {moment} on are not over yet.")
    known = read_known(settings, contract, moment)
    labelled = known.readings.filter(known.readings["label"].is_valid())
    table = labelled_table(labelled, contract)
    booster, threshold = _fit(table, contract, settings)
    days = history.open_days(settings, contract, moment, until - timedelta(days=1))
    readings = _read(days)
    truth = LabelStore(settings.raw_address).labels_of(contract)
    if truth is not None:
        readings = _relabelled(readings, truth)
    readings = readings.filter(readings["label"].is_valid())
    features = np.column_stack([readings[name].to_numpy() for name in contract.feature_names])
    score = booster.inplace_predict(features).astype(np.float64)
    frame = readings.select(["device", "time", "label"]).append_column("score", pa.array(score))
    sources = {**known.sources, **{day: version.hash for day, version in days.items()}}
    return {
        "date": moment.isoformat(),
        "until": until.isoformat(),
        "known_rows": len(known.readings),
        "trained_rows": len(table.rows.label),
        **_figures(frame, threshold, contract.interval_seconds),
        "threshold": threshold,
        "sources": _digest(contract, sources, known.labels, truth, settings.threads),
    }


def _fit(table: "Table", contract: Contract, settings: Settings) -> tuple[Any, float]:
    """A model and its threshold, as the step `train` makes them."""
    from breezeway.detector import model, thresholds

    params, rounds, threads = model.DEFAULT_PARAMS, model.DEFAULT_ROUNDS, settings.threads
    scores = model.out_of_fold(table, contract, params, rounds, threads)
    scored = scores.fold >= 0
    curve = thresholds.threshold_curve(table.rows.where(scored), scores.score[scored], contract)
    booster = model.fit(
        table, slice(None), contract.feature_names, params, rounds=rounds, threads=threads
    )
    return booster, thresholds.choose_threshold(curve, contract)


def _figures(frame: pa.Table, threshold: float, interval: float) -> dict[str, Any]:
    card = scorecard.scorecard(frame, threshold, interval)
    rows = scorecard.rows_of(frame)
    alarm = (frame["score"].to_numpy() >= threshold)[rows.order]
    nowhere = rows._replace(label=np.zeros_like(rows.label))
    horizon = scorecard.horizon_seconds(interval)
    delays = detection_delays(rows, alarm)
    device_days = len(frame) * interval / 86_400
    return {
        "rows": card["rows"],
        "average_precision": card["average_precision"],
        "alarms": scorecard.false_episodes(nowhere, alarm, horizon),
        "false_episodes_per_day": card["false_episodes"] / device_days if device_days else None,
        "events": card["events"],
        "events_hit": card["events_hit"],
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
    return (rows.time[hits[first]] - rows.time[np.flatnonzero(begins)[hit]]) / 1e6


def _read(days: Mapping[date, Any]) -> pa.Table:
    parts = [
        pq.read_table(part)
        for version in days.values()
        for part in sorted((version.folder / "features").glob("part-*.parquet"))
    ]
    return pa.concat_tables(parts)


def _relabelled(readings: pa.Table, labels: pa.Table) -> pa.Table:
    """The readings with their labels made anew from some intervals."""
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


# What a person asks in a shell.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--first", type=date.fromisoformat, required=True, help="first date")
    parser.add_argument("--last", type=date.fromisoformat, required=True, help="last date at most")
    parser.add_argument("--every", type=int, default=PERIOD_DAYS, help="days between dates (7)")
    parser.add_argument(
        "--days", type=int, default=PERIOD_DAYS, help="days that each is judged on (7)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only dates, rows and the time")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """The plan, or with it the figures of each date.

    Raises:
        UsageError: a number is below 1, there is no date, or a day is not made yet.
        BreezewayError: as for `judge`.
    """
    if arguments.every < 1 or arguments.days < 1:
        raise UsageError("--every and --days: expected at least 1.")
    step = timedelta(days=arguments.every)
    count = (arguments.last - arguments.first) // step + 1
    dates = [arguments.first + n * step for n in range(count)]
    if not dates:
        raise UsageError(f"--last {arguments.last} is before --first {arguments.first}.")
    if arguments.dry_run:
        return plan(settings, dates, arguments.days)
    contract = load_contract(settings.sensors)
    return {"dates": [judge(settings, contract, each, arguments.days) for each in dates]}


def plan(settings: Settings, dates: Sequence[date], period_days: int) -> dict[str, Any]:
    """What a backtest of some dates would read, and how long it would take."""
    counts = RawStore(settings.raw_address).count_by_day(
        FIRST_DAY, max(dates) + timedelta(days=period_days)
    )
    made = history.published_days(settings, load_contract(settings.sensors).name)
    listed = []
    for moment in dates:
        until = moment + timedelta(days=period_days)
        listed.append(
            {
                "date": moment.isoformat(),
                "known_rows": sum(n for day, n in counts.items() if day < moment),
                "judged_rows": sum(n for day, n in counts.items() if moment <= day < until),
                "days_to_make": sum(day not in made for day in counts if day < until),
                "over": until <= datetime.now(UTC).date(),
            }
        )
    rows = sum(each["known_rows"] + each["judged_rows"] for each in listed)
    return {"dates": listed, "rows": rows, **history.estimate(rows, _rate(settings))}


def _rate(settings: Settings) -> float | None:
    """Rows a second of the backtests that MLflow knows of; None where there are none."""
    from breezeway.tracking import mlflow_client

    client = mlflow_client.client(settings)
    with mlflow_client.errors(settings):
        runs = client.search_runs(
            [each.experiment_id for each in client.search_experiments()],
            "tags.`breezeway.step` = 'backtest' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=20,
        )
    seconds = sum(run.data.metrics.get("seconds", 0) for run in runs)
    rows = sum(run.data.metrics.get("rows_read", 0) for run in runs)
    return rows / seconds if seconds else None
