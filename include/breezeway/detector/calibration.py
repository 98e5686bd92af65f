"""Whether a score is a probability: of readings with a score of 0.3, are three in ten positive?"""

from typing import NamedTuple

import numpy as np

BINS = 10
"""Of equal width, from 0 to 1."""


class Calibration(NamedTuple):
    """How far scores are from the shares of positive rows."""

    brier: float
    """The mean square of score minus label: 0 is perfect."""
    expected_error: float
    """The mean distance between a bin's score and its share of positive rows, weighted by rows."""
    rows: np.ndarray
    """int (bins,)."""
    score: np.ndarray
    """float64 (bins,): the mean score; NaN in a bin without rows."""
    share: np.ndarray
    """float64 (bins,): of positive rows; NaN in a bin without rows."""


def calibration(label: np.ndarray, score: np.ndarray) -> Calibration:
    """Compare scores with labels.

    Args:
        label: bool (rows,).
        score: (rows,), each between 0 and 1.

    Example:
        >>> found = calibration(np.array([0, 1, 1, 1]), np.array([0.5, 0.5, 1.0, 1.0]))
        >>> found.brier, found.expected_error
        (0.125, 0.0)
    """
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    rows = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):  # 0 / 0 where there is no row
        means = np.bincount(place, weights=score, minlength=BINS) / rows
        share = np.bincount(place, weights=label, minlength=BINS) / rows
    error = np.nansum(rows * np.abs(means - share)) / max(1, len(score))
    brier = np.mean((score - label) ** 2) if len(score) else 0.0
    return Calibration(float(brier), float(error), rows, means, share)
