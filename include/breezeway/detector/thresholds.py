"""The alarm threshold: what each candidate would cost, and which one the contract selects."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from breezeway.contract.alarm import Alarm
from breezeway.contract.contract import Contract
from breezeway.detector import scorecard
from breezeway.detector.boosting import SEED
from breezeway.detector.model import OutOfFold
from breezeway.detector.scorecard import Rows

CANDIDATES = 300
"""Candidate thresholds, more of them among the highest scores."""
RESAMPLES = 200
GROUPS = 400
"""Blocks of rows are resampled; more of them are put together to so many groups."""
DAY_SECONDS = 86_400


class Effects(NamedTuple):
    """The effect of each candidate threshold, from the highest down: (…, candidates) each."""

    false_episodes: np.ndarray
    """The largest number of false episodes of this or any higher threshold."""
    missed: np.ndarray
    """Events without an alarm."""
    delay: np.ndarray
    """Intervals between readings from the starts of the events to their first alarms; a missed
    event counts with its length."""
    caught: np.ndarray
    """Positive rows in alarm."""
    false_alarms: np.ndarray
    """Normal rows in alarm."""
    positive: np.ndarray
    """Positive rows: (…, 1)."""
    normal: np.ndarray
    """Normal rows: (…, 1)."""
    device_days: np.ndarray
    """Time of all rows: (…, 1)."""


class ThresholdCurve(NamedTuple):
    """The effect of each candidate threshold on labelled rows."""

    threshold: np.ndarray
    """(candidates,), descending. The first is above every score: no alarm."""
    effects: Effects
    """(candidates,): on all rows."""
    resampled: Effects
    """(resamples, candidates): on samples of blocks of the rows."""
    events: int


class Choice(NamedTuple):
    """The threshold, and the interval that holds 95 % of the choices on resampled rows."""

    threshold: float
    low: float
    high: float


def threshold_curve(rows: Rows, score: np.ndarray, contract: Contract) -> ThresholdCurve:
    """Try thresholds on labelled rows.

    With a lower threshold there are more false episodes, until they merge into one endless alarm
    and their number falls. That fall is no improvement. So each threshold gets the largest number
    of any higher threshold.

    Neighbouring readings are almost the same, so blocks of a device's time are resampled (a block
    bootstrap), and a false episode or an event counts in the block that it starts in.

    Args:
        rows: labelled rows.
        score: (rows,), cross-fitted.
    """
    thresholds = _candidates(rows, score, contract.alarm.max_alarm_share)
    group = resampling_groups(rows, contract)
    by_group = _effects_by_group(rows, score, thresholds, group, contract.interval_seconds)
    drawn = np.random.default_rng(SEED).multinomial(
        group.max() + 1, np.full(group.max() + 1, 1 / (group.max() + 1)), RESAMPLES
    )
    totals = Effects(*(figure.sum(axis=0) for figure in by_group))
    samples = Effects(*(drawn @ figure for figure in by_group))
    # Without an event or without a normal row a sample says nothing about a threshold.
    says = (samples.positive[:, 0] > 0) & (samples.normal[:, 0] > 0)
    samples = Effects(*(figure[says] for figure in samples))
    return ThresholdCurve(
        thresholds,
        _without_merging(totals),
        _without_merging(samples),
        int(scorecard.event_starts(rows).sum()),
    )


def choose_threshold(curve: ThresholdCurve, contract: Contract) -> Choice:
    """Choose the score from which on a reading is in alarm, by the contract's `alarm`.

    Only thresholds within the limits count: the budget of false episodes, and the share of normal
    time in alarm. Of these the one with the lowest cost is best, or the one with the highest F1;
    with a budget alone it is the lowest, which has the earliest alarms. Of equally good ones the
    lowest is taken.

    The best threshold of a sample jumps: two thresholds far apart may cost almost the same. So it
    is chosen on each resample, and these choices are averaged, as log odds (Breiman, "Bagging
    Predictors", 1996). The threshold is the one nearest to the average of those that are within the
    limits on all rows and not worse than the best by more than one standard error.

    Works badly on short histories: in less than five days of one device, a budget of 0.2 a day
    allows no false episode at all.

    Returns:
        The threshold; a number above every score if it is best to have no alarm.
    """
    within = _within_limits(curve.effects, contract.alarm)
    best = _lowest_best(_loss(curve.effects, contract.alarm), within)
    choices = np.array([best])
    if len(curve.resampled.delay):
        losses = _loss(curve.resampled, contract.alarm)
        choices = _lowest_best(losses, _within_limits(curve.resampled, contract.alarm))
        worse = losses - losses[:, [best]]
        within &= worse.mean(axis=0) <= worse.std(axis=0)
        within[best] = True
    odds = log_odds(curve.threshold)
    distance = np.where(within, np.abs(odds - odds[choices].mean()), np.inf)
    threshold = float(curve.threshold[np.argmin(distance)])
    high, low = curve.threshold[np.percentile(choices, (2.5, 97.5), method="nearest").astype(int)]
    return Choice(threshold, min(threshold, float(low)), max(threshold, float(high)))


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
            chosen = choose_threshold(curve, contract).threshold
            thresholds[scores.fold == number] = chosen
    return thresholds


def first_alarms(
    rows: Rows, score: np.ndarray, thresholds: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each event its rows, and which of them is the first to reach each threshold.

    Args:
        rows: labelled rows.
        score: (rows,).
        thresholds: (candidates,).

    Yields:
        int (rows of the event,) and int (candidates,): positions in the former, or its length where
        no row of the event reaches the threshold.
    """
    starts = np.flatnonzero(scorecard.event_starts(rows))
    positive = np.flatnonzero(rows.label)  # an event is a run of them
    for own in np.split(positive, np.searchsorted(positive, starts[1:])) if len(starts) else ():
        # The first row that reaches a threshold is the first whose running maximum does.
        yield own, np.searchsorted(np.maximum.accumulate(score[own]), thresholds)


def _candidates(rows: Rows, score: np.ndarray, max_alarm_share: float) -> np.ndarray:
    """Scores to try, from the one above all down to where too much normal time is in alarm."""
    descending = np.sort(score)[::-1]
    normal = np.sort(score[~rows.label])
    lowest = descending[-1]
    if len(normal):
        # The highest score that too many normal rows reach; a candidate lies above it.
        allowed = int(max_alarm_share * len(normal))
        lowest = np.nextafter(normal[len(normal) - 1 - allowed], np.inf)
    reached = max(1, int((score >= lowest).sum()))
    ranks = np.concatenate(
        [np.geomspace(1, reached, CANDIDATES * 2 // 3), np.linspace(1, reached, CANDIDATES // 3)]
    )
    thresholds = np.unique(descending[np.unique(ranks.astype(int)) - 1])[::-1]
    above_all = np.nextafter(descending[0], np.inf)
    return np.insert(thresholds[thresholds >= lowest], 0, above_all)


def resampling_groups(rows: Rows, contract: Contract) -> np.ndarray:
    """Number the groups of blocks (device, period); a period is longer than a feature window.

    Returns:
        int (rows,), from 0.
    """
    period = int(scorecard.block_seconds(contract) * 1_000_000)
    stretch = (rows.time - rows.time.min()) // max(1, period)
    blocks = rows.device.astype(np.int64) * (stretch.max() + 1) + stretch
    # An event belongs to the block that it starts in, with all its rows.
    begins = scorecard.event_starts(rows)
    event = np.cumsum(begins) - 1
    blocks = np.where(
        rows.label, blocks[np.flatnonzero(begins)[event]] if begins.any() else 0, blocks
    )
    block = np.unique(blocks, return_inverse=True)[1]
    count = int(block.max()) + 1
    shuffled = np.random.default_rng(SEED).permutation(count)
    groups: np.ndarray = shuffled[block] % min(count, GROUPS)
    return groups


def _effects_by_group(
    rows: Rows, score: np.ndarray, thresholds: np.ndarray, group: np.ndarray, interval: float
) -> Effects:
    """Return the effects in each group: (groups, candidates) each, not yet without merging."""
    groups, candidates = int(group.max()) + 1, len(thresholds)
    horizon = scorecard.horizon_seconds(interval)
    false = np.empty((groups, candidates))
    for number, threshold in enumerate(thresholds):
        starts = scorecard.false_episode_starts(rows, score >= threshold, horizon)
        false[:, number] = np.bincount(group[starts], minlength=groups)
    # The first candidate that a row reaches; those that reach none are in a column of their own.
    first = np.searchsorted(-thresholds, -score)
    cells = group * (candidates + 1) + first
    size = groups * (candidates + 1)

    def reached(kept: np.ndarray) -> np.ndarray:
        counts = np.bincount(cells[kept], minlength=size).reshape(groups, -1)
        return np.cumsum(counts, axis=1)[:, :-1].astype(float)

    missed, delay = _missed_and_delay(rows, score, thresholds, group, interval)
    label = rows.label
    count = np.bincount(group, minlength=groups).astype(float)
    positive = np.bincount(group, weights=label, minlength=groups)
    return Effects(
        false,
        missed,
        delay,
        reached(label),
        reached(~label),
        positive[:, None],
        (count - positive)[:, None],
        count[:, None] * interval / DAY_SECONDS,
    )


def _missed_and_delay(
    rows: Rows, score: np.ndarray, thresholds: np.ndarray, group: np.ndarray, interval: float
) -> tuple[np.ndarray, np.ndarray]:
    groups = int(group.max()) + 1
    missed = np.zeros((groups, len(thresholds)))
    delay = np.zeros((groups, len(thresholds)))
    for own, at in first_alarms(rows, score, thresholds):
        start = own[0]
        since = (rows.time[own] - rows.time[start]) / (interval * 1e6)
        missed[group[start]] += at == len(own)
        delay[group[start]] += np.append(since, since[-1] + 1)[at]
    return missed, delay


def _without_merging(effects: Effects) -> Effects:
    largest = np.maximum.accumulate(effects.false_episodes, axis=-1)
    return effects._replace(false_episodes=largest)


def _within_limits(effects: Effects, alarm: Alarm) -> np.ndarray:
    """Return bool (…, candidates). The first candidate, no alarm at all, is within every limit."""
    within = effects.false_alarms <= alarm.max_alarm_share * effects.normal
    if alarm.false_episodes_per_day is not None:
        within &= effects.false_episodes <= alarm.false_episodes_per_day * effects.device_days
    return within


def _loss(effects: Effects, alarm: Alarm) -> np.ndarray:
    """Return what is to be as low as possible: (…, candidates)."""
    if alarm.missed_event_cost is not None and alarm.false_episode_cost is not None:
        missed = alarm.missed_event_cost * effects.missed
        late = alarm.delay_cost * effects.delay
        cost: np.ndarray = missed + late + alarm.false_episode_cost * effects.false_episodes
        return cost
    if alarm.maximize == "f1" or alarm.false_episodes_per_day is None:
        alarms = effects.caught + effects.false_alarms
        # Without an event nothing is caught, and all are as good.
        f1: np.ndarray = 2 * effects.caught / np.maximum(1, alarms + effects.positive)
        return -f1
    return np.zeros_like(effects.missed)


def _lowest_best(loss: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Return the position of the lowest threshold of those within the limits that are best."""
    backwards = np.where(within, loss, np.inf)[..., ::-1]
    return np.asarray(loss.shape[-1] - 1 - np.argmin(backwards, axis=-1))


def log_odds(threshold: np.ndarray) -> np.ndarray:
    """Return the log odds of thresholds or scores between 0 and 1; of 0 and 1 they are finite."""
    inside = np.clip(threshold, 1e-9, 1 - 1e-9)
    odds: np.ndarray = np.log(inside / (1 - inside))
    return odds
