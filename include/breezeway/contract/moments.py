"""Figures of readings, and how those of two parts give those of both.

The formulas are from Pébay, "Formulas for Robust, One-Pass Parallel Computation of Covariances and
Arbitrary-Order Statistical Moments", SAND2008-6212. They lose no digits if the mean is large. Times
are treated in the same way: those of a part are relative to its last reading, so that no digits of
an epoch are lost.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.statistics import Statistic

NEEDS: dict[Statistic, tuple[str, ...]] = {
    "last": (),
    "mean": ("mean",),
    "std": ("mean", "second"),
    "min": ("low",),
    "max": ("high",),
    "slope": ("mean", "joint"),
    "rms": ("mean", "second"),
    "kurtosis": ("mean", "second", "third", "fourth"),
    "diff": (),
    "median": (),
    "lag": (),
    "from_median": (),
    "zscore": ("mean", "second"),
    "from_baseline": ("mean",),
    "baseline_zscore": ("mean",),
}
"""The figures of a window that a statistic is made of."""
NOTHING = {"low": np.inf, "high": -np.inf}
"""Initial values of a part without readings; every other figure of it is 0."""

Figures = dict[str, Any]
"""Figures of parts: `mean`, `second`, `third` and `fourth` (sums of powers of deviations), `joint`
(sum of the products of the deviations of position and value), `low`, `high`. Each is an array, or
a float if it is the same for all parts."""

SECOND = 1e6
"""In microseconds."""

Sums = tuple[Any, Any]
"""Of parts: the sums of the positions of their values, and of the squares of these. They are whole
numbers, so they are exact."""


class Weights(NamedTuple):
    """What the figures of two parts, an older and a newer one, weigh in those of both.

    Args:
        share: the newer part's share of the values.
        rest: the older part's share.
        weight: product of the two counts divided by their sum.
        apart: from the older part's mean position, or time, to the newer's.
    """

    share: Any
    rest: Any
    weight: Any
    apart: Any


def join_counts(a: Any, b: Any) -> tuple[Weights, Any]:
    """The weights of two parts, as if they were not apart, and the count of both.

    Args:
        a, b: how many values the older and the newer part have.
    """
    count = a + b
    share = _over(b, count)
    return Weights(share, _over(a, count), a * share, 0.0), count


def join_sums(
    a: Sequence[Any], b: Sequence[Any], counts: tuple[Any, Any], shift: int
) -> tuple[Any, Sums]:
    """How far two parts are apart, and the sums of both.

    Args:
        a, b: those of the older and of the newer part.
        counts: of their values.
        shift: readings of the older one.
    """
    moved = b[0] + shift * counts[1]
    apart = _over(moved, counts[1]) - _over(a[0], counts[0])
    squares = a[1] + b[1] + 2 * shift * b[0] + shift * shift * counts[1]
    return apart, (a[0] + moved, squares)


def join_times(
    a: Sequence[Any], b: Sequence[Any], passed: np.ndarray, weights: Weights
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """How far two parts are apart in time; mean time and sum of squared deviations of both.

    Args:
        a, b: the same of each part. A mean is relative to the last reading of its part.
        passed: from the last reading of the newer part back to that of the older one: int64,
            microseconds, not above 0.
        weights: of both.
    """
    moved = a[0] + passed
    if not isinstance(weights.rest, float):  # an older part without values has no time either
        moved = np.where(weights.rest > 0, moved, 0.0)
    apart = b[0] - moved
    spread = _plus(apart * apart * weights.weight, a[1], b[1])
    return apart, (_plus(apart * weights.share, moved), spread)


def join_figures(a: Figures, b: Figures, weights: Weights) -> Figures:
    """The figures of both parts; all are arrays, or floats."""
    joined: Figures = {}
    if "low" in a:
        joined["low"] = np.minimum(a["low"], b["low"])
    if "high" in a:
        joined["high"] = np.maximum(a["high"], b["high"])
    if "mean" not in a:
        return joined
    delta = b["mean"] - a["mean"]
    joined["mean"] = _plus(delta * weights.share, a["mean"])
    if len(a) == len(joined):
        return joined
    weighted = delta * weights.weight
    if "second" in a:
        joined["second"] = _plus(delta * weighted, a["second"], b["second"])
    if "joint" in a:
        joined["joint"] = _plus(weighted * weights.apart, a["joint"], b["joint"])
    if "fourth" in a:
        joined |= _join_higher(a, b, weights, delta, weighted)
    return joined


def _join_higher(
    a: Figures, b: Figures, weights: Weights, delta: np.ndarray, weighted: np.ndarray
) -> Figures:
    share, rest, square = weights.share, weights.rest, delta * delta
    third = _plus(
        square * (weighted * (rest - share)),
        *(a["third"], b["third"]),
        3 * delta * (rest * b["second"] - share * a["second"]),
    )
    fourth = _plus(
        square * delta * (weighted * (rest * rest - rest * share + share * share)),
        *(a["fourth"], b["fourth"]),
        6 * square * (rest * rest * b["second"] + share * share * a["second"]),
        4 * delta * (rest * b["third"] - share * a["third"]),
    )
    return {"third": third, "fourth": fourth}


def _over(figure: Any, count: Any) -> Any:
    """A quotient; 0 where the divisor is 0, because the dividend is 0 there too."""
    if isinstance(count, float):
        return figure / count if count else 0.0
    return figure / np.maximum(count, 1.0)


def _plus(array: np.ndarray, *others: Any) -> np.ndarray:
    """The sum, written into the first array, because memory access is the bottleneck."""
    for other in others:
        array += other
    return array


def statistic_of(name: Statistic, figures: Figures, count: Any, steps: Any) -> Any:
    """A statistic of windows; NaN for those without values.

    Args:
        count: of their values.
        steps: from `steps_of`; only a slope needs it.
    """
    match name:
        case "mean" | "from_baseline" | "baseline_zscore":  # less the baseline: `beside`
            found = figures["mean"]
        case "min":
            found = figures["low"]
        case "max":
            found = figures["high"]
        case "std":
            found = np.sqrt(figures["second"] / count)
        case "rms":
            found = np.sqrt(figures["second"] / count + np.square(figures["mean"]))
        case "slope":
            found = np.where(steps > 0, np.divide(figures["joint"], steps), np.nan)
        case "kurtosis":
            variance = figures["second"] / count
            fourth = figures["fourth"] / count
            found = np.where(variance > 0, fourth / np.square(variance) - 3, np.nan)
    return found if isinstance(count, float) else np.where(count > 0, found, np.nan)


def steps_of(count: Any, sums: Sums | None, clock: tuple[Any, Any] | None) -> Any:
    """What a slope is divided by: the sum of squared deviations of the positions, or of the times
    in seconds. None if neither is known.

    Args:
        count: of values.
        sums: of their positions.
        clock: mean times and sums of squared deviations of the times, which then count.
    """
    if clock is not None:
        return clock[1] / SECOND
    return None if sums is None else sums[1] - np.square(sums[0]) / count
