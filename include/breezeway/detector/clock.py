"""The learned clock: the same learner, fed nothing but the time since a device's first reading.

Where a recording always begins normally, or a device always fails at the same age, a model that
looks at no sensor can be as good as one that looks at all. Figures alone do not show this; the
learned clock beside them does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector import scorecard
from breezeway.detector.boosting import booster_params, matrix, xgb
from breezeway.detector.folds import Fold
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.model import DEFAULT_PARAMS, OutOfFold
from breezeway.detector.scorecard import Difference, Rows
from breezeway.detector.table import Table

LEARNED_CLOCK = "learned_clock"
"""Its name among the baselines."""
FEATURE = "seconds"
PARAMS = DEFAULT_PARAMS | {"learning_rate": 0.3}
ROUNDS = 30
"""As far as a hundred slow rounds, in a third of their time: training is to be no slower for it."""


@dataclass(frozen=True)
class Clock:
    """A fitted learned clock.

    Args:
        booster: scores seconds.
        began: microseconds since 1970 of each known device's first reading, by name.
        origin: the first of these times if every device has a single reading: then the feature is
            the time since this one. Else None.
    """

    booster: xgb.Booster
    began: Mapping[str, int]
    origin: int | None

    def score(self, rows: Rows) -> np.ndarray:
        """Return float64 (rows,). A device that it does not know begins with its first row."""
        seconds = _seconds(rows, self.began, self.origin)
        return self.booster.inplace_predict(seconds).astype(np.float64)


def fit_clock(rows: Rows, scope: TrainingScope, threads: int) -> Clock:
    """Fit a clock on labelled rows of both classes, with parameters of its own.

    Args:
        scope: of the rows.
    """
    began, origin = _beginnings(rows)
    table = Table(rows, _seconds(rows, began, origin), scope)
    return Clock(_fit(table, slice(None), threads), began, origin)


def clock_scores(table: Table, folds: Sequence[Fold], threads: int) -> OutOfFold:
    """Score the rows of a table by clocks, cross-fitted by the same folds as a detector."""
    timed = table._replace(features=seconds_of(table.rows))
    score, fold_of = np.full(len(timed.features), np.nan), np.full(len(timed.features), -1)
    for number, fold in enumerate(folds):
        booster = _fit(timed, fold.fit, threads)
        score[fold.scored] = booster.inplace_predict(timed.features[fold.scored])
        fold_of[fold.scored] = number
    return OutOfFold(score, fold_of, np.empty((0, 2, 0)))


def seconds_of(rows: Rows) -> np.ndarray:
    """Return the clock's feature, float32 (rows, 1): the time since the device's first of these
    rows or, where each device has a single one, since the first of all."""
    return _seconds(rows, *_beginnings(rows))


def _fit(timed: Table, rows: np.ndarray | slice, threads: int) -> xgb.Booster:
    label = timed.rows.label[rows]
    data = matrix(timed.features[rows], label, [FEATURE], threads)
    return xgb.train(booster_params(PARAMS, {}, label, threads), data, num_boost_round=ROUNDS)


def _beginnings(rows: Rows) -> tuple[dict[str, int], int | None]:
    first = np.flatnonzero(rows.first)  # rows are in the order (device, time)
    names = rows.names[rows.device[first]].tolist()
    alone = len(first) == len(rows.time)
    began = dict(zip(names, rows.time[first].tolist(), strict=True))
    return began, int(rows.time.min()) if alone else None


def _seconds(rows: Rows, began: Mapping[str, int], origin: int | None) -> np.ndarray:
    """Return the feature, float32 (rows, 1)."""
    if origin is not None:
        since = rows.time - origin
    else:
        first = np.flatnonzero(rows.first)
        names = rows.names[rows.device[first]].tolist()
        starts = [
            began.get(name, time)
            for name, time in zip(names, rows.time[first].tolist(), strict=True)
        ]
        since = rows.time - np.repeat(starts, np.diff(np.append(first, len(rows.time))))
    return (since / 1_000_000).astype(np.float32)[:, None]


class BesideClock(NamedTuple):
    """A detector beside the learned clock, on the same rows."""

    average_precision: float
    of_clock: float
    difference: Difference
    """The detector's minus the clock's."""

    @property
    def sentence(self) -> str:
        """What a person has to know; empty if the detector is clearly better."""
        if self.difference.low > 0:
            return ""
        estimate, low, high = self.difference
        return (
            "A clock that sees no sensor, only the time since a device's first reading, is not "
            f"clearly worse: average precision {self.of_clock:.3f} against "
            f"{self.average_precision:.3f}, difference {estimate:+.3f}, 95 % interval {low:+.3f} "
            f"to {high:+.3f}. These rows do not show that the sensors tell more than the time."
        )


def beside_clock(
    frame: Mapping[str, Any], clock: np.ndarray, contract: Contract
) -> BesideClock | None:
    """Compare a detector with the learned clock.

    Args:
        frame: columns `device`, `time`, `label` (0 or 1) and `score`.
        clock: (rows,), the clock's scores.

    Returns:
        None if no row is positive, and so there is no average precision.
    """
    label = scorecard.numbers(frame["label"]) == 1
    score = scorecard.numbers(frame["score"])
    own, other = (scorecard.average_precision(label, each) for each in (score, clock))
    if own is None or other is None:
        return None
    length = scorecard.block_seconds(contract)
    blocks = scorecard.time_blocks(frame["device"], frame["time"], length)
    return BesideClock(own, other, scorecard.compare(label, score, clock, blocks))
