"""Statistics of every window of readings: one definition for history and requests.

The statistics of a window are computed from those of its two parts, and these from their parts,
down to single readings (`moments`). Neighbouring windows of a long column share parts, and so do
windows of several lengths. Yet each result depends only on the readings in its window, in a fixed
order, so history and a request give the same bits. A window by time has as many readings as came
within it (`spans`), and is made of the same parts. A median is of the sorted values of its window.

Written by hand because it is faster: `make bench ONLY=preprocess` compares it with pandas.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from breezeway.contract.moments import (
    NEEDS,
    NOTHING,
    SECOND,
    Figures,
    Sums,
    Weights,
    join_counts,
    join_figures,
    join_sums,
    join_times,
    statistic_of,
    steps_of,
)
from breezeway.contract.spans import Part, Span, as_readings, blocks_for, figures_of_spans
from breezeway.contract.statistics import RollingFeature, Statistic

SORTED_VALUES = 1 << 18
"""At once: they fit in the processor's cache."""


class _Step(NamedTuple):
    """How to join two parts, `older` readings and then `newer`.

    Args:
        extends: the length of the windows whose newer part the newer part is; 0 if both parts are
            blocks of the same size, and the result is blocks of twice that size.
        unseen: where the older part must not count.
        weights: of both.
    """

    extends: int
    older: int
    newer: int
    unseen: np.ndarray | None
    weights: Weights


class _Plan(NamedTuple):
    """All steps to windows; for each length of them the counts and sums and, if times count, the
    mean times and the sums of squared deviations of the times."""

    steps: list[_Step]
    counts: dict[int, Any]
    sums: dict[int, Sums]
    clocks: dict[int, tuple[Any, Any]]


def rolling_statistics(
    values: np.ndarray,
    width: int,
    wanted: Collection[RollingFeature],
    seen: np.ndarray | None = None,
    times: np.ndarray | None = None,
    within: Mapping[int, np.ndarray] | None = None,
) -> dict[RollingFeature, np.ndarray]:
    """Statistics of the windows of every reading that has `width` readings, with itself.

    Args:
        values: float64 of shape (…, readings), oldest first; NaN where a value is missing.
        width: readings of the longest window, from 1 to the number of readings.
        wanted: what to compute.
        seen: int64 of shape (readings,): for each reading, how many readings before it belong to
            its device, if there are several devices one after the other.
        times: int64 of shape (readings,), microseconds, growing within a device; with them `slope`
            and `diff` are per second, else per reading.
        within: from `readings_within`, for the time of each window by time; int64 of shape
            (readings - width + 1,).

    Returns:
        For each of `wanted`, float64 of shape (…, readings - width + 1).

    >>> mean = RollingFeature("mean", 2)
    >>> rolling_statistics(np.array([1.0, 2.0, 4.0, np.nan]), 2, [mean])[mean]
    array([1.5, 3. , 4. ])
    """
    shape = (*values.shape[:-1], values.shape[-1] - width + 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        usual = {n: int(c[0]) for n, c in (within or {}).items() if (c == c[0]).all()}
        made = {feature: as_readings(feature, usual) for feature in wanted}
        windows = _Windows(values, shape[-1], made.values(), seen, times, within)
        found = {feature: windows.value(made[feature]) for feature in wanted}
    return {  # `broadcast_to` takes as long as a few sums
        feature: value if np.shape(value) == shape else np.broadcast_to(value, shape)
        for feature, value in found.items()
    }


class _Windows:
    """The windows of the last `rows` readings of `values`; see `rolling_statistics`."""

    def __init__(
        self,
        values: np.ndarray,
        rows: int,
        wanted: Collection[RollingFeature],
        seen: np.ndarray | None,
        times: np.ndarray | None,
        within: Mapping[int, np.ndarray] | None,
    ):
        self._values, self._rows, self._seen, self._times = values, rows, seen, times
        self._spans = {
            feature.span: Span.of(values.shape[-1], rows, within or {}, *feature.span)
            for feature in wanted
            if feature.seconds
        }
        needs: dict[int, set[str]] = {}
        of_spans: dict[tuple[int, int], set[str]] = {}
        for feature in wanted:
            if not (of_windows := NEEDS[feature.statistic]):
                continue
            if feature.seconds:
                of_spans.setdefault(feature.span, set()).update(of_windows)
            for width in self._widths(feature):
                needs.setdefault(width, set()).update(of_windows)
        if not needs:
            return
        missing = np.isnan(values)
        self._plan = self._planned(needs, missing)
        readings = _of_readings(values, missing, set().union(*needs.values()))
        self._figures = _of_windows(
            readings,
            self._plan,
            lambda found, width: {name: found[name] for name in needs[width]},
            _join,
        )
        self._parts = {key: self._part(self._spans[key], names) for key, names in of_spans.items()}

    def _widths(self, feature: RollingFeature) -> list[int]:
        """The lengths of the windows, or of the blocks, that a feature is made of."""
        if feature.seconds:
            return blocks_for(self._spans[feature.span])
        return [feature.window - feature.recent]

    def _planned(self, needs: Mapping[int, set[str]], missing: np.ndarray) -> _Plan:
        widths = tuple(sorted(needs))
        if self._seen is None and not missing.any():
            plan = _plan_of_whole_windows(widths)
        else:
            plan = _plan((~missing).astype(np.float64), widths, self._seen)
        if self._times is not None and any("joint" in names for names in needs.values()):
            plan = _by_time(plan, self._times)
        return plan

    def _part(self, span: Span, names: Collection[str]) -> Part:
        plan = self._plan
        blocks = {
            size: Part(
                plan.counts[size],
                plan.sums[size] if "joint" in names and not plan.clocks else None,
                plan.clocks[size] if "joint" in names and plan.clocks else None,
                {name: self._figures[size][name] for name in names},
            )
            for size in blocks_for(span)
        }
        return figures_of_spans(blocks, span, self._times if plan.clocks else None)

    def value(self, feature: RollingFeature) -> Any:
        """A feature of every row; a number if it is the same for all."""
        match feature.statistic:
            case "last":
                return self._ago(0)
            case "lag":
                return self._lag(feature)
            case "diff":
                return self._diff(feature.window - 1)
            case "median":
                return self._median(feature)
            case "from_median":
                return self._ago(0) - self._median(feature)
            case "zscore":
                mean, std = (self._statistic(name, feature) for name in ("mean", "std"))
                return np.where(std > 0, (self._ago(0) - mean) / std, np.nan)
        return self._statistic(feature.statistic, feature)

    def _statistic(self, name: Statistic, feature: RollingFeature) -> Any:
        """Of the window without its latest readings, if the feature leaves them out."""
        if feature.seconds:
            part = self._parts[feature.span]
            return statistic_of(name, part.figures, part.count, part.steps)
        plan, width = self._plan, feature.window - feature.recent
        count, steps = plan.counts[width], None
        if name == "slope":
            steps = steps_of(count, plan.sums[width], plan.clocks.get(width))
        found = statistic_of(name, self._figures[width], count, steps)
        return found if np.ndim(found) == 0 else self._of_rows(found, feature.recent)

    def _ago(self, readings: int) -> np.ndarray:
        """The values so many readings before each row."""
        return self._of_rows(self._values, readings)

    def _of_rows(self, figures: np.ndarray, ago: int) -> np.ndarray:
        """Of figures whose last one is of the last reading: those of `ago` readings before each
        row; NaN where these are of another device."""
        end = figures.shape[-1] - ago
        return self._own(figures[..., end - self._rows : end], ago)

    def _own(self, found: np.ndarray, ago: Any) -> np.ndarray:
        if self._seen is None or (isinstance(ago, int) and not ago):
            return found
        return np.where(self._seen[-self._rows :] >= ago, found, np.nan)

    def _lag(self, feature: RollingFeature) -> np.ndarray:
        if not feature.seconds:
            return self._ago(feature.window - 1)
        span = self._spans[feature.span]
        found = self._own(self._values[..., span.ends - span.lengths], span.lengths)
        return np.where(span.lengths < feature.window, found, np.nan)

    def _diff(self, readings: int) -> np.ndarray:
        difference: np.ndarray = self._ago(0) - self._ago(readings)
        if self._times is None:
            return difference
        end = len(self._times) - readings
        elapsed = self._times[-self._rows :] - self._times[end - self._rows : end]
        return np.where(elapsed > 0, difference / (elapsed / SECOND), np.nan)

    def _median(self, feature: RollingFeature) -> np.ndarray:
        if feature.seconds:
            return _medians_of_spans(self._values, self._spans[feature.span])
        width, ago = feature.window - feature.recent, feature.recent
        end = self._values.shape[-1] - ago
        here = slice(end - self._rows - width + 1, end)
        seen = None if self._seen is None else self._seen[here]
        return self._own(_medians(self._values[..., here], width, seen), ago)


def _medians(values: np.ndarray, width: int, seen: np.ndarray | None) -> np.ndarray:
    """The median of every window of `width` readings; see `rolling_statistics`."""
    if values.shape[-1] == width:  # the view takes as long as the sort of a request's window
        windows = values[..., None, :]
    else:
        windows = sliding_window_view(values, width, axis=-1)
    out = np.empty(windows.shape[:-1])
    rows = max(1, SORTED_VALUES // (width * max(1, out[..., 0].size)))
    before = np.arange(width - 1, -1, -1)
    for first in range(0, out.shape[-1], rows):
        here = slice(first, first + rows)
        found = windows[..., here, :]
        if seen is not None:
            found = np.where(before > seen[width - 1 :][here, None], np.nan, found)
        out[..., here] = _middle(found)
    return out


def _medians_of_spans(values: np.ndarray, span: Span) -> np.ndarray:
    """The median of every window by time; the longest are sorted first, so that a few long ones do
    not make the others wider."""
    ends, lengths = span
    out = np.full((*values.shape[:-1], len(ends)), np.nan)
    order = np.argsort(-lengths.astype(np.int16), kind="stable")
    order = order[: np.count_nonzero(lengths)]
    each = max(1, out[..., 0].size)
    first = 0
    while first < len(order):
        width = int(lengths[order[first]])
        rows = order[first : first + max(1, SORTED_VALUES // (width * each))]
        begins = np.maximum(ends[rows] - width + 1, 0)
        found = sliding_window_view(values, width, axis=-1)[..., begins, :]
        if lengths[rows[-1]] < width:
            before = (ends[rows] - begins)[:, None] - np.arange(width)
            found = np.where((before >= 0) & (before < lengths[rows, None]), found, np.nan)
        out[..., rows] = _middle(found)
        first += len(rows)
    return out


def _middle(values: np.ndarray) -> np.ndarray:
    """The medians of rows of values, without those that are missing."""
    width = values.shape[-1]
    found = np.sort(values, axis=-1)  # NaN last
    count = width - np.isnan(found).sum(-1) if np.isnan(found[..., -1]).any() else width
    low = _at(found, np.maximum(count - 1, 0) // 2)
    high = _at(found, np.minimum(count // 2, width - 1))
    middle: np.ndarray = 0.5 * low + 0.5 * high + 0.0  # of -0 and 0, either may come first
    return middle


def _at(rows: np.ndarray, places: Any) -> np.ndarray:
    """Of each row the element at its place, or at the place of all."""
    if np.ndim(places):
        return np.take_along_axis(rows, places[..., None], -1)[..., 0]
    return rows[..., places]


@lru_cache(maxsize=256)
def _plan_of_whole_windows(widths: tuple[int, ...]) -> _Plan:
    return _plan(1.0, widths, None)


def _plan(count: Any, widths: Sequence[int], seen: np.ndarray | None) -> _Plan:
    """The steps to windows: make blocks of 1, 2, 4 … readings, and join those whose sizes are the
    binary digits of a width, the largest block the oldest.

    Sums of positions and of their squares are whole numbers, so they are exact.

    Args:
        count: of the values of each reading: 1 or 0.
        widths: of the windows.
    """
    steps: list[_Step] = []
    blocks = (count, 0.0 * count, 0.0 * count)  # counts, positions, squares
    found = {width: blocks for width in widths if width & 1}
    size = 1
    while 2 * size <= max(widths):
        step, blocks = _plan_step(0, blocks, blocks, size, size, seen)
        steps.append(step)
        size *= 2
        for width in widths:
            if width & size and width in found:
                done = width & (size - 1)
                step, found[width] = _plan_step(width, blocks, found[width], size, done, seen)
                steps.append(step)
            elif width & size:
                found[width] = blocks
    counts = {width: of_window[0] for width, of_window in found.items()}
    return _Plan(steps, counts, {width: found[width][1:] for width in found}, {})


def _plan_step(
    extends: int,
    older: tuple[Any, Any, Any],
    newer: tuple[Any, Any, Any],
    shift: int,
    following: int,
    seen: np.ndarray | None,
) -> tuple[_Step, tuple[Any, Any, Any]]:
    unseen = None if seen is None else seen[shift + following - 1 :] < following
    a = [_cut(figure, following, unseen) for figure in older]
    b = [_from(figure, shift) for figure in newer]
    weights, count = join_counts(a[0], b[0])
    apart, sums = join_sums(a[1:], b[1:], (a[0], b[0]), shift)
    step = _Step(extends, shift, following, unseen, weights._replace(apart=apart))
    return step, (count, *sums)


def _by_time(plan: _Plan, times: np.ndarray) -> _Plan:
    """The same plan with times in place of positions."""
    steps = []

    def join(older: tuple[Any, Any], newer: tuple[Any, Any], step: _Step) -> tuple[Any, Any]:
        a = [_cut(figure, step.newer, step.unseen) for figure in older]
        b = [_from(figure, step.older) for figure in newer]
        end = step.older + step.newer - 1
        passed = times[step.older - 1 : len(times) - step.newer] - times[end:]
        apart, joined = join_times(a, b, passed, step.weights)
        steps.append(step._replace(weights=step.weights._replace(apart=apart)))
        return joined

    found = _of_windows((0.0, 0.0), plan, lambda blocks, _: blocks, join)
    return plan._replace(steps=steps, clocks=found)


def _from(figure: Any, shift: int) -> Any:
    """The newer blocks that have an older one."""
    return figure if isinstance(figure, float) else figure[..., shift:]


def _cut(figure: Any, following: int, unseen: np.ndarray | None, nothing: float = 0.0) -> Any:
    """The older blocks that have a newer one; 0 where the newer one must not see them."""
    if not isinstance(figure, float):
        figure = figure[..., :-following]
    return figure if unseen is None else np.where(unseen, nothing, figure)


def _of_readings(values: np.ndarray, missing: np.ndarray, needs: set[str]) -> Figures:
    figures: Figures = {}
    for need in needs:
        if need in ("mean", "low", "high"):
            nothing = NOTHING.get(need, 0.0)
            figures[need] = np.where(missing, nothing, values) if missing.any() else values
        else:
            figures[need] = 0.0
    return figures


def _of_windows[F](
    blocks: F, plan: _Plan, start: Callable[[F, int], F], join: Callable[[F, F, _Step], F]
) -> dict[int, F]:
    """The figures of windows, by their length.

    Args:
        blocks: of single readings.
        start: what a window of a length needs of the figures of its newest block.
        join: an older part and a newer one.
    """
    size = 1
    found = {width: start(blocks, width) for width in plan.sums if width & 1}
    for step in plan.steps:
        if step.extends:
            found[step.extends] = join(blocks, found[step.extends], step)
        else:
            blocks = join(blocks, blocks, step)
            size *= 2
            for width in plan.sums:
                if width & size and not width & (size - 1):
                    found[width] = start(blocks, width)
    return found


def _join(older: Figures, newer: Figures, step: _Step) -> Figures:
    b = {name: _from(figure, step.older) for name, figure in newer.items()}
    a = {n: _cut(older[n], step.newer, step.unseen, NOTHING.get(n, 0.0)) for n in newer}
    return join_figures(a, b, step.weights)
