"""Statistics of every window of readings: one definition for history and requests.

The statistics of a window are computed from those of its two parts, and these from their parts,
down to single readings. Neighbouring windows of a long column share parts. Yet each result depends
only on the readings in its window, in a fixed order, so history and a request give the same bits.
The formulas to join two parts are from Pébay, "Formulas for Robust, One-Pass Parallel Computation
of Covariances and Arbitrary-Order Statistical Moments", SAND2008-6212. They lose no digits if the
mean is large. Times are treated in the same way: those of a part are relative to its last reading,
so that no digits of an epoch are lost.

Written by hand because it is faster: `make bench ONLY=preprocess` compares it with pandas.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.schema import Statistic

_NEEDS: dict[Statistic, tuple[str, ...]] = {
    "last": (),
    "mean": ("mean",),
    "std": ("mean", "second"),
    "min": ("low",),
    "max": ("high",),
    "slope": ("mean", "joint"),
    "rms": ("mean", "second"),
    "kurtosis": ("mean", "second", "third", "fourth"),
    "diff": (),
}
_NOTHING = {"low": np.inf, "high": -np.inf}
"""Initial values of a part without readings; every other figure of it is 0."""

Figures = dict[str, Any]
"""Figures of blocks of the same number of readings, by the first reading of each: `mean`, `second`,
`third` and `fourth` (sums of powers of deviations), `joint` (sum of the products of the deviations
of position and value), `low`, `high`. A figure that is the same for all blocks is a float."""

SECOND = 1e6
"""In microseconds."""

Sums = tuple[Any, Any, Any]
"""Of blocks: the counts of values, the sums of their positions, and the sums of the squares."""


class _Step(NamedTuple):
    """How to join two parts, `older` readings and then `newer`. All are floats or arrays.

    Args:
        extends: whether the newer part is the window so far; otherwise both parts are blocks of
            the same size, and the result is blocks of twice that size.
        unseen: where the older part must not count.
        share: the newer part's share of the values.
        rest: the older part's share.
        weight: product of the two counts divided by their sum.
        apart: from the older part's mean position, or time, to the newer's.
    """

    extends: bool
    older: int
    newer: int
    unseen: np.ndarray | None
    share: Any
    rest: Any
    weight: Any
    apart: Any


class _Plan(NamedTuple):
    """All steps to windows; their counts, and the sums of squared deviations of their positions."""

    steps: list[_Step]
    count: Any
    spread: Any


def rolling_statistics(
    values: np.ndarray,
    width: int,
    wanted: Collection[Statistic],
    seen: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Statistics of every window of `width` readings.

    Args:
        values: float64 of shape (…, readings), oldest first; NaN where a value is missing.
        width: readings of a window, from 1 to the number of readings.
        wanted: the statistics to compute.
        seen: int64 of shape (readings,): for each reading, how many readings before it belong to
            its device, if there are several devices one after the other.
        times: int64 of shape (readings,), microseconds, growing within a device; with them `slope`
            and `diff` are per second, else per reading.

    Returns:
        For each statistic, float64 of shape (…, readings - width + 1).

    >>> rolling_statistics(np.array([1.0, 2.0, 4.0, np.nan]), 2, ["mean"])["mean"]
    array([1.5, 3. , 4. ])
    """
    last = values[..., width - 1 :]
    found = {}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if needs := {need for name in wanted for need in _NEEDS[name]}:
            missing = np.isnan(values)
            if seen is None and not missing.any():
                plan = _plan_of_whole_windows(width)
            else:
                plan = _plan((~missing).astype(np.float64), width, seen)
            if times is not None and "slope" in wanted and width > 1:
                plan = _by_time(plan, times, width)
            figures = _of_windows(_of_readings(values, missing, needs), plan.steps, width, _join)
            found = {name: _statistic(name, figures, plan) for name in wanted if _NEEDS[name]}
        if "last" in wanted:
            found["last"] = last
        if "diff" in wanted:
            found["diff"] = last - (values[..., width - 2 : -1] if width > 1 else last)
            if times is not None:
                elapsed = times[width - 1 :] - (times[width - 2 : -1] if width > 1 else times)
                found["diff"] = np.where(elapsed > 0, found["diff"] / (elapsed / SECOND), np.nan)
            if seen is not None and width > 1:
                found["diff"] = np.where(seen[width - 1 :] > 0, found["diff"], np.nan)
    return {name: np.broadcast_to(figure, last.shape) for name, figure in found.items()}


@cache
def _plan_of_whole_windows(width: int) -> _Plan:
    return _plan(1.0, width, None)


def _plan(count: Any, width: int, seen: np.ndarray | None) -> _Plan:
    """The steps to windows: make blocks of 1, 2, 4 … readings, and join those whose sizes are the
    binary digits of the width, the largest block the oldest.

    Sums of positions and of their squares are whole numbers, so they are exact.

    Args:
        count: of the values of each reading: 1 or 0.
    """
    steps: list[_Step] = []
    blocks = found = (count, 0.0 * count, 0.0 * count)  # counts, positions, squares
    size, done = 1, width & 1
    while done < width:
        step, blocks = _plan_step(False, blocks, blocks, size, size, seen)
        steps.append(step)
        size *= 2
        if width & size and not done:
            found, done = blocks, size
        elif width & size:
            step, found = _plan_step(True, blocks, found, size, done, seen)
            steps.append(step)
            done += size
    count, positions, squares = found
    return _Plan(steps, count, squares - np.square(positions) / count)


def _plan_step(
    extends: bool, older: Sums, newer: Sums, shift: int, following: int, seen: np.ndarray | None
) -> tuple[_Step, Sums]:
    unseen = None if seen is None else seen[shift + following - 1 :] < following
    a = [_cut(figure, following, unseen) for figure in older]
    b = [figure if isinstance(figure, float) else figure[..., shift:] for figure in newer]
    count = a[0] + b[0]
    moved = b[1] + shift * b[0]
    share = _over(b[0], count)
    apart = _over(moved, b[0]) - _over(a[1], a[0])
    rest = _over(a[0], count)
    step = _Step(extends, shift, following, unseen, share, rest, a[0] * share, apart)
    squares = a[2] + b[2] + 2 * shift * b[1] + shift * shift * b[0]
    return step, (count, a[1] + moved, squares)


def _by_time(plan: _Plan, times: np.ndarray, width: int) -> _Plan:
    """The same plan with times in place of positions, in microseconds."""
    steps = []

    def join(older: tuple[Any, Any], newer: tuple[Any, Any], step: _Step) -> tuple[Any, Any]:
        apart, joined = _join_times(older, newer, step, times)
        steps.append(step._replace(apart=apart))
        return joined

    _, spread = _of_windows((0.0, 0.0), plan.steps, width, join)
    return _Plan(steps, plan.count, spread / SECOND)


def _join_times(
    older: tuple[Any, Any], newer: tuple[Any, Any], step: _Step, times: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """How far two parts are apart, and the mean time and the sum of squared deviations of both.

    Args:
        older, newer: the same of each. A mean is relative to the last reading of its part.
    """
    mean, spread = (_cut(figure, step.newer, step.unseen) for figure in older)
    end = step.older + step.newer - 1
    moved = mean + (times[step.older - 1 : len(times) - step.newer] - times[end:])
    if not isinstance(step.rest, float):  # an older part without values has no time either
        moved = np.where(step.rest > 0, moved, 0.0)
    b = [figure if isinstance(figure, float) else figure[..., step.older :] for figure in newer]
    apart = b[0] - moved
    joined = _plus(apart * apart * step.weight, spread, b[1])
    return apart, (_plus(apart * step.share, moved), joined)


def _over(figure: Any, count: Any) -> Any:
    """A quotient; 0 where the divisor is 0, because the dividend is 0 there too."""
    if isinstance(count, float):
        return figure / count if count else 0.0
    return figure / np.maximum(count, 1.0)


def _cut(figure: Any, following: int, unseen: np.ndarray | None, nothing: float = 0.0) -> Any:
    """The older blocks that have a newer one; 0 where the newer one must not see them."""
    if not isinstance(figure, float):
        figure = figure[..., :-following]
    return figure if unseen is None else np.where(unseen, nothing, figure)


def _of_readings(values: np.ndarray, missing: np.ndarray, needs: set[str]) -> Figures:
    figures: Figures = {}
    for need in needs:
        if need in ("mean", "low", "high"):
            nothing = _NOTHING.get(need, 0.0)
            figures[need] = np.where(missing, nothing, values) if missing.any() else values
        else:
            figures[need] = 0.0
    return figures


def _of_windows[F](
    blocks: F, steps: Sequence[_Step], width: int, join: Callable[[F, F, _Step], F]
) -> F:
    found, size, done = blocks, 1, width & 1
    for step in steps:
        if step.extends:
            found = join(blocks, found, step)
            done += size
        else:
            blocks = join(blocks, blocks, step)
            size *= 2
            if width & size and not done:
                found, done = blocks, size
    return found


def _join(older: Figures, newer: Figures, step: _Step) -> Figures:
    b = {n: f if isinstance(f, float) else f[..., step.older :] for n, f in newer.items()}
    a = {n: _cut(f, step.newer, step.unseen, _NOTHING.get(n, 0.0)) for n, f in older.items()}
    joined: Figures = {}
    if "low" in a:
        joined["low"] = np.minimum(a["low"], b["low"])
    if "high" in a:
        joined["high"] = np.maximum(a["high"], b["high"])
    if "mean" not in a:
        return joined
    delta = b["mean"] - a["mean"]
    joined["mean"] = _plus(delta * step.share, a["mean"])
    if len(a) == len(joined):
        return joined
    weighted = delta * step.weight
    if "second" in a:
        joined["second"] = _plus(delta * weighted, a["second"], b["second"])
    if "joint" in a:
        joined["joint"] = _plus(weighted * step.apart, a["joint"], b["joint"])
    if "fourth" in a:
        joined |= _join_higher(a, b, step, delta, weighted)
    return joined


def _join_higher(
    a: Figures, b: Figures, step: _Step, delta: np.ndarray, weighted: np.ndarray
) -> Figures:
    share, rest, square = step.share, step.rest, delta * delta
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


def _plus(array: np.ndarray, *others: Any) -> np.ndarray:
    """The sum, written into the first array, because memory access is the bottleneck."""
    for other in others:
        array += other
    return array


def _statistic(name: str, figures: Figures, plan: _Plan) -> Any:
    count = plan.count
    match name:
        case "mean":
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
            found = np.where(plan.spread > 0, figures["joint"] / plan.spread, np.nan)
        case "kurtosis":
            variance = figures["second"] / count
            fourth = figures["fourth"] / count
            found = np.where(variance > 0, fourth / np.square(variance) - 3, np.nan)
    return found if isinstance(count, float) else np.where(count > 0, found, np.nan)
