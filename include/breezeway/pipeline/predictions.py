"""Predictions of readings as Parquet files, and what is counted of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from breezeway.core.files import writing
from breezeway.detector import scorecard
from breezeway.detector.scoring import ScoringModel
from breezeway.drift.decision import FEW_BATCHES
from breezeway.pipeline.nightly_rows import batches, with_scores
from breezeway.readings.arrow import TIME

FOLDER = "predictions"
"""Where the files are in a dataset of predictions."""
PREDICTIONS = pa.schema(
    [
        ("device", pa.string()),
        ("time", TIME),
        ("score", pa.float64()),
        ("alarm", pa.bool_()),
        ("model_version", pa.string()),
    ]
)
"""A reading is in alarm if its score is at least the threshold of the version."""


@dataclass
class Tally:
    """What is counted of predictions.

    Attributes:
        rows: predictions.
        alarms: those in alarm, by device.
        episodes: alarm episodes, by device. Two alarms are of one episode if no more time is
            between them than the scorecard allows.
        first_time, last_time: microseconds since 1970, UTC; None without a row.
    """

    rows: int = 0
    alarms: Counter[str] = field(default_factory=Counter)
    episodes: Counter[str] = field(default_factory=Counter)
    first_time: int | None = None
    last_time: int | None = None

    def merge(self, other: "Tally") -> None:
        self.rows += other.rows
        self.alarms += other.alarms
        self.episodes += other.episodes
        firsts, lasts = (
            [time for time in times if time is not None]
            for times in ((self.first_time, other.first_time), (self.last_time, other.last_time))
        )
        self.first_time, self.last_time = min(firsts, default=None), max(lasts, default=None)


class _Counting:
    """Counts predictions of devices one after the other, by time, in blocks."""

    def __init__(self, interval_seconds: float):
        self.tally = Tally()
        self._horizon = scorecard.horizon_seconds(interval_seconds) * 1_000_000
        self._last: tuple[str, int] | None = None
        """Device and time of the last alarm."""

    def add(self, batch: pa.RecordBatch) -> None:
        tally, time = self.tally, scorecard.microseconds(batch["time"])
        first, last = int(time.min()), int(time.max())
        tally.merge(Tally(len(batch), first_time=first, last_time=last))
        alarms = batch.filter(batch["alarm"])
        if not len(alarms):
            return
        coded = scorecard.arrow_column(alarms["device"]).dictionary_encode()
        names, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
        time = scorecard.microseconds(alarms["time"])
        begins = np.ones(len(alarms), dtype=bool)
        begins[1:] = (codes[1:] != codes[:-1]) | (np.diff(time) > self._horizon)
        if self._last and self._last[0] == names[codes[0]]:
            begins[0] = time[0] - self._last[1] > self._horizon
        self._last = (names[codes[-1]], int(time[-1]))
        for found, kept in ((tally.alarms, codes), (tally.episodes, codes[begins])):
            counts = np.bincount(kept, minlength=len(names)).tolist()
            found.update({name: n for name, n in zip(names, counts, strict=True) if n})


def predictions_of(model: ScoringModel, scored: pa.RecordBatch) -> pa.RecordBatch:
    """The predictions of readings: each column of `PREDICTIONS` is made here.

    Args:
        scored: device, time, the features and the score.
    """
    score = scored["score"]
    version = pa.array([model.version], pa.string())
    columns = {
        "device": scored["device"],
        "time": scored["time"],
        "score": score,
        "alarm": pc.greater_equal(score, model.threshold),
        "model_version": version.take(pa.array(np.zeros(len(scored), np.int64))),
    }
    return pa.record_batch([columns[name] for name in PREDICTIONS.names], schema=PREDICTIONS)


def write_part(model: ScoringModel, part: Path, since: datetime | None, into: Path) -> Tally:
    """Score one file of features, some thousand rows at a time.

    Args:
        part: rows of devices one after the other, by time.
        since: rows before this time only have a say in the scores of later ones.
        into: the file; it is not written if there is no row.
    """
    counting = _Counting(model.contract.interval_seconds)
    writer: pq.ParquetWriter | None = None
    start = pa.scalar(since, TIME) if since else None
    with writing(into):
        try:
            for batch in with_scores(model, batches(part)):
                if start is not None:
                    batch = batch.filter(pc.greater_equal(batch["time"], start))
                if not len(batch):
                    continue
                found = predictions_of(model, batch)
                counting.add(found)
                writer = writer or pq.ParquetWriter(
                    into,
                    PREDICTIONS,
                    compression="zstd",
                    use_dictionary=["device", "alarm", "model_version"],
                )
                writer.write_batch(found)
        finally:
            if writer:
                writer.close()
    return counting.tally


def read(folder: Path) -> Iterator[pa.RecordBatch]:
    """The predictions of a dataset, some thousand at a time."""
    for part in sorted((folder / FOLDER).glob("part-*.parquet")):
        yield from ds.dataset(part).to_batches(**FEW_BATCHES)
