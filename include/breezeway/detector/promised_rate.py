"""The alarm threshold without labels: from a promised rate of false episodes.

No event says what an alarm is worth, so what is left of `[alarm]` are its limits: the budget of
false episodes, and the share of normal time in alarm. The threshold is the lowest within both on
held-out rows that are presumed normal.
"""

import math
from typing import NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.boosting import SEED
from breezeway.detector.scorecard import Rows
from breezeway.detector.thresholds import Choice, log_odds, resampling_groups

CANDIDATES = 300
RESAMPLES = 200
ENOUGH = 10
"""Episodes: a rate is read off from so many; a lower one is extrapolated from their peaks."""
DAY_SECONDS = 86_400
LARGEST_ODDS = 30.0


class Promise(NamedTuple):
    """A threshold, and what it promises.

    Args:
        choice: the threshold; and the interval that holds 95 % of the choices on resampled rows.
        per_day: false episodes of a device that are expected; at most the budget.
        device_days: time of the rows that it is calibrated on.
        extrapolated: whether these rows are too few to show that rate, so that it follows from how
            the peaks of more frequent episodes are distributed.
    """

    choice: Choice
    per_day: float
    device_days: float
    extrapolated: bool


def promised_threshold(rows: Rows, score: np.ndarray, contract: Contract) -> Promise:
    """Choose the lowest threshold that keeps to the limits of a contract on normal rows.

    Readings are autocorrelated, so what is counted are episodes, not rows, and for the interval
    whole blocks of a device's time are resampled. A fault among the rows is a single episode
    however long it lasts, and of the devices' shares of time in alarm the median counts, so one
    device that is broken for a month hardly moves the threshold.

    If the budget allows fewer than ten episodes in these rows, the rate is extrapolated: the log
    odds of the peaks of ten episodes are taken to be exponentially distributed above the threshold
    of these ten (Hill, "A simple general approach to inference about the tail of a distribution",
    1975), and one standard error is added to their number. That errs towards fewer alarms.

    Works badly on less than a few days: seasons that the rows do not hold bring alarms.

    Args:
        rows: presumed normal; their labels are not looked at.
        score: (rows,), each by a model that did not see the row or its neighbours; filtered.

    Raises:
        DataError: there is no row.
    """
    if not len(score):
        raise DataError("alarm: no held-out row is presumed normal, and the threshold needs some.")
    rows = rows._replace(label=np.zeros(len(score), dtype=bool))
    interval = contract.interval_seconds
    days = len(score) * interval / DAY_SECONDS
    thresholds = _candidates(rows, score, contract.alarm.max_alarm_share)
    budget = contract.alarm.false_episodes_per_day
    groups = resampling_groups(rows, contract)
    counts = _episodes_by_group(rows, score, thresholds, groups, interval)
    allowed = math.inf if budget is None else budget * days
    tail = _tail(rows, score, thresholds, counts, groups, interval)
    threshold, expected = _chosen(thresholds, counts.sum(axis=0), tail, None, allowed)
    size = len(counts)
    drawn = np.random.default_rng(SEED).multinomial(size, np.full(size, 1 / size), RESAMPLES)
    resampled = [_chosen(thresholds, weight @ counts, tail, weight, allowed)[0] for weight in drawn]
    low, high = np.percentile(resampled, (2.5, 97.5))
    return Promise(
        Choice(threshold, min(threshold, float(low)), max(threshold, float(high))),
        expected / days,
        days,
        allowed < ENOUGH and bool(threshold > thresholds[-1]),
    )


class _Tail(NamedTuple):
    """The peaks of the episodes of a threshold that has about `ENOUGH` of them."""

    place: int
    """Of the threshold."""
    above: np.ndarray
    """(episodes,): log odds of the peaks above it."""
    group: np.ndarray
    """int (episodes,)."""


def _candidates(rows: Rows, score: np.ndarray, max_alarm_share: float) -> np.ndarray:
    """Scores to try, falling: the first is above all, the last keeps to the share of time."""
    size = np.bincount(rows.device, minlength=len(rows.names))
    starts = np.flatnonzero(rows.first)
    limits = [
        np.sort(own)[len(own) - 1 - int(max_alarm_share * len(own))]
        for own in np.split(score, starts[1:])
    ]
    # The score that too many rows of a device reach: of half of the devices, counted by rows.
    order = np.argsort(limits, kind="stable")
    reached = np.cumsum(size[rows.device[starts]][order])
    lowest = np.nextafter(np.array(limits)[order][np.searchsorted(reached, len(score) / 2)], np.inf)
    descending = np.sort(score)[::-1]
    count = int((descending >= lowest).sum())
    above_all = np.nextafter(descending[0], np.inf)
    if not count:
        return np.array([max(lowest, above_all)])
    ranks = np.unique(np.geomspace(1, count, CANDIDATES).astype(int))
    return np.unique([above_all, lowest, *descending[ranks - 1]])[::-1]


def _episodes_by_group(
    rows: Rows, score: np.ndarray, thresholds: np.ndarray, groups: np.ndarray, interval: float
) -> np.ndarray:
    """Float64 (groups, candidates): the episodes that start there."""
    horizon, size = scorecard.horizon_seconds(interval), int(groups.max()) + 1
    counts = np.empty((size, len(thresholds)))
    for number, threshold in enumerate(thresholds):
        starts = scorecard.false_episode_starts(rows, score >= threshold, horizon)
        counts[:, number] = np.bincount(groups[starts], minlength=size)
    return counts


def _tail(
    rows: Rows,
    score: np.ndarray,
    thresholds: np.ndarray,
    counts: np.ndarray,
    groups: np.ndarray,
    interval: float,
) -> _Tail:
    enough = np.flatnonzero(counts.sum(axis=0) >= ENOUGH)
    place = int(enough[0]) if len(enough) else int(counts.sum(axis=0).argmax())
    alarm = score >= thresholds[place]
    alarms = np.flatnonzero(alarm)
    starts = scorecard.false_episode_starts(rows, alarm, scorecard.horizon_seconds(interval))
    if not len(starts):
        return _Tail(place, np.empty(0), starts)
    peaks = np.maximum.reduceat(score[alarms], np.searchsorted(alarms, starts))
    return _Tail(place, log_odds(peaks) - log_odds(thresholds[place]), groups[starts])


def _chosen(
    thresholds: np.ndarray,
    episodes: np.ndarray,
    tail: _Tail,
    weight: np.ndarray | None,
    allowed: float,
) -> tuple[float, float]:
    """Return the threshold, and how many episodes it has in as much time as that of the rows.

    Args:
        episodes: (candidates,).
        weight: of the groups; None for 1 each.
    """
    # With a lower threshold episodes merge, and their number falls: that is no improvement.
    episodes = np.maximum.accumulate(episodes)
    within = episodes <= allowed
    if within.all():
        return float(thresholds[-1]), float(episodes[-1])
    lowest = int(np.flatnonzero(within)[-1])
    of_each = np.ones(len(tail.above)) if weight is None else weight[tail.group].astype(float)
    total = of_each.sum()
    if allowed >= ENOUGH or total <= allowed:
        return float(thresholds[lowest]), float(episodes[lowest])
    mean = float(of_each @ tail.above / total)
    cautious = total + math.sqrt(total)
    odds = float(log_odds(thresholds[tail.place])) + mean * math.log(cautious / allowed)
    return 1 / (1 + math.exp(-min(odds, LARGEST_ODDS))), allowed
