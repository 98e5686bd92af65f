"""How soon events are found, at each price in false alarms."""

from typing import NamedTuple

import numpy as np

from breezeway.detector import scorecard
from breezeway.detector.scorecard import Rows
from breezeway.detector.thresholds import ThresholdCurve, first_alarms


class DelayCurve(NamedTuple):
    """What each candidate threshold would give, from the highest down; one array each."""

    false_per_day: np.ndarray
    """False episodes in a day of a device."""
    found: np.ndarray
    """The share of events with an alarm."""
    prompt: np.ndarray
    """The share of events with an alarm within the horizon of their start."""
    median_seconds: np.ndarray
    """The median delay of those found; NaN if there are none."""
    p90_seconds: np.ndarray
    """The 90th percentile."""


def delay_curve(
    rows: Rows, score: np.ndarray, curve: ThresholdCurve, interval_seconds: float
) -> DelayCurve | None:
    """Return the delays of events over false alarms.

    Args:
        rows: the rows of the curve.
        score: (rows,).

    Returns:
        None without an event.
    """
    if not curve.events:
        return None
    delays = np.full((len(curve.threshold), curve.events), np.inf)
    for number, (own, first) in enumerate(first_alarms(rows, score, curve.threshold)):
        hit = first < len(own)
        delays[hit, number] = (rows.time[own[first[hit]]] - rows.time[own[0]]) / 1_000_000
    found = np.isfinite(delays)
    horizon = scorecard.horizon_seconds(interval_seconds)
    percentiles = np.full((2, len(delays)), np.nan)
    for line in np.flatnonzero(found.any(axis=1)):
        percentiles[:, line] = np.percentile(delays[line, found[line]], (50, 90))
    return DelayCurve(
        curve.effects.false_episodes / curve.effects.device_days,
        found.mean(axis=1),
        (delays <= horizon).mean(axis=1),
        *percentiles,
    )
