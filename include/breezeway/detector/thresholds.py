"""The alarm threshold: what each candidate would cost, and which one the contract selects."""

from typing import NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector import scorecard
from breezeway.detector.model import OutOfFold
from breezeway.detector.scorecard import Rows

CANDIDATES = 300
"""Candidate thresholds: at ranks that grow geometrically from the highest score down."""
DAY_SECONDS = 86_400


class ThresholdCurve(NamedTuple):
    """The effect of each candidate threshold, from the highest down; one array each."""

    threshold: np.ndarray
    """The first is above every score: no alarm."""
    false_episodes: np.ndarray
    """The largest number of false episodes of this or any higher threshold."""
    missed: np.ndarray
    """Events without an alarm."""
    events: int
    device_days: float


def threshold_curve(rows: Rows, score: np.ndarray, contract: Contract) -> ThresholdCurve:
    """Try thresholds on labelled rows.

    With a lower threshold there are more false episodes, until they merge into one endless alarm
    and their number falls. That fall is no improvement. So each threshold gets the largest number
    of any higher threshold, and no candidate has half of the normal time or more in alarm.

    Args:
        rows: labelled rows.
        score: (rows,), cross-fitted.
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
    """Choose the score from which on a reading is in alarm, by the contract's `alarm`.

    With a budget of false episodes per day and device: the lowest threshold within the budget.
    With costs of missed events and false episodes: the threshold with the lowest cost, and of
    equal ones the lowest.

    Works badly on short histories: in less than five days of one device, a budget of 0.2 a day
    allows no false episode at all.

    Returns:
        The threshold; a number above every score if it is best to have no alarm.
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
    """Return a threshold for each row that was chosen without the row.

    The rows of a fold get the threshold of the other folds' scores; if the split is by time, only
    of the earlier folds.

    Returns:
        float64 (rows,); NaN for rows without a score and, if the split is by time, for rows of
        the first fold.
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
