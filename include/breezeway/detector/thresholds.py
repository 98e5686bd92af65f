"""The alarm threshold: what each candidate would cost, and which one the contract asks for."""

from typing import NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector import scorecard
from breezeway.detector.model import OutOfFold
from breezeway.detector.scorecard import Rows

CANDIDATES = 300
"""Thresholds that are tried: at ranks that grow geometrically from the highest score down."""
DAY_SECONDS = 86_400


class ThresholdCurve(NamedTuple):
    """What each candidate for the threshold would do, from the highest down; one array each."""

    threshold: np.ndarray
    """The first is above every score: no alarm."""
    false_episodes: np.ndarray
    """The most false episodes of this or any higher threshold."""
    missed: np.ndarray
    """Events without an alarm."""
    events: int
    device_days: float


def threshold_curve(rows: Rows, score: np.ndarray, contract: Contract) -> ThresholdCurve:
    """Try thresholds on labelled rows.

    False episodes rise as the threshold falls, until they run together into one endless alarm.
    That fall is no merit, so a threshold answers for the most false episodes of any threshold
    above it; and none is tried that keeps half of the normal time in alarm.

    Args:
        rows: labelled rows.
        score: (rows,), of models that did not see them.
    """
    horizon = scorecard.horizon_seconds(contract.interval_seconds)
    descending = np.sort(score)[::-1]
    ranks = np.unique(np.geomspace(1, len(score), CANDIDATES).astype(int)) - 1
    thresholds = np.unique(descending[ranks])[::-1]
    if not rows.label.all():
        thresholds = thresholds[thresholds > np.median(score[~rows.label])]
    thresholds = np.insert(thresholds, 0, np.nextafter(descending[0], np.inf))
    begins = scorecard.event_starts(rows)
    event = (np.cumsum(begins) - 1)[rows.label]
    peak = np.zeros(int(begins.sum()))
    np.maximum.at(peak, event, score[rows.label])
    return ThresholdCurve(
        thresholds,
        np.maximum.accumulate(
            [scorecard.false_episodes(rows, score >= t, horizon) for t in thresholds]
        ),
        np.array([(peak < t).sum() for t in thresholds]),
        len(peak),
        len(score) * contract.interval_seconds / DAY_SECONDS,
    )


def choose_threshold(curve: ThresholdCurve, contract: Contract) -> float:
    """Choose from which score on a reading is in alarm, as the contract's `alarm` says.

    With a budget: the lowest threshold that keeps it, in false episodes for a day of one
    device. With costs: the threshold of least cost (the lower one of two equals) in missed
    events and false episodes.

    Works badly on short histories: a budget of 0.2 a day allows none at all in less than
    five days of one device.

    Returns:
        The threshold; a number above every score where no alarm is best.
    """
    alarm = contract.alarm
    if alarm.false_episodes_per_day is None:
        cost = (
            alarm.missed_event_cost * curve.missed + alarm.false_episode_cost * curve.false_episodes
        )
        return float(curve.threshold[cost == cost.min()][-1])
    kept = curve.false_episodes <= alarm.false_episodes_per_day * curve.device_days
    return float(curve.threshold[kept][-1])


def honest_thresholds(rows: Rows, scores: OutOfFold, contract: Contract) -> np.ndarray:
    """Return for each row a threshold that was chosen without it.

    The rows of a fold get the threshold of the other folds' scores; split by time, of the
    earlier folds' only.

    Returns:
        float64 (rows,); NaN for rows that have none: those without a score and, split by time,
        those of the first fold.
    """
    thresholds = np.full(len(scores.score), np.nan)
    for number in range(scores.fold.max() + 1):
        others = (scores.fold >= 0) & (scores.fold != number)
        if contract.split.by == "time":
            others &= scores.fold < number
        if others.any():
            curve = threshold_curve(rows.where(others), scores.score[others], contract)
            thresholds[scores.fold == number] = choose_threshold(curve, contract)
    return thresholds
