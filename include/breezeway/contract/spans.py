"""Windows by time: how many readings came within them, and their figures.

A window is joined from blocks whose sizes are the binary digits of its number of readings, the
largest the oldest. So a window by time has the figures of a window of as many readings.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from breezeway.contract.moments import (
    NOTHING,
    Figures,
    Sums,
    join_figures,
    join_sums,
    join_times,
)


def readings_within(
    times: np.ndarray, ages: np.ndarray, seconds: Collection[int], most: int
) -> dict[int, np.ndarray]:
    """How many readings came later than so long before each reading, with itself.

    Args:
        times: int64 of shape (readings,), microseconds, growing within a device.
        ages: int64 of shape (readings,): for each reading, how many readings before it belong to
            its device and stretch.
        seconds: how long.
        most: readings that are counted.

    Returns:
        For each of `seconds`, int64 of shape (readings,), from 1 to `most`.

    >>> times = np.array([0, 60, 120, 300]) * 1_000_000
    >>> readings_within(times, np.arange(4), [120], 30)[120]
    array([1, 2, 2, 1])
    """
    here = np.arange(len(times))
    furthest = np.minimum(ages, most - 1)
    return {each: 1 + _before(times, here, furthest, each * 1_000_000) for each in seconds}


def _before(times: np.ndarray, here: np.ndarray, furthest: np.ndarray, length: int) -> np.ndarray:
    """The readings before each one that came less than `length` before it: digit by digit."""
    found = np.zeros(len(times), np.int64)
    step = 1 << int(furthest.max(initial=0)).bit_length()
    while step := step >> 1:
        further = found + step
        is_there = further <= furthest
        is_there &= times - times[np.maximum(here - further, 0)] < length
        found += step * is_there
    return found


class Span(NamedTuple):
    """The windows by time of rows.

    Args:
        ends: int64 of shape (rows,): the place of the last reading of each.
        lengths: int64 of shape (rows,): how many readings each has; 0 if it has none.
    """

    ends: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(
        cls, readings: int, rows: int, within: Mapping[int, np.ndarray], seconds: int, recent: int
    ) -> Self:
        """The windows of the last `rows` of so many readings, without the latest `recent` seconds
        of each."""
        ends, lengths = np.arange(readings - rows, readings), within[seconds]
        return (
            cls(ends - within[recent], lengths - within[recent]) if recent else cls(ends, lengths)
        )


class Part(NamedTuple):
    """What is known of parts: arrays whose last dimension they are, or floats that hold for all.

    Args:
        sums: of their values.
        clock: if times count, mean times and sums of squared deviations of the times.
        figures: of their values.
    """

    sums: Sums
    clock: tuple[Any, Any] | None
    figures: Figures

    def taken(self, places: np.ndarray) -> "Part":
        """Those at some places."""

        def at(figure: Any) -> Any:
            return figure if isinstance(figure, float) else figure[..., places]

        count, positions, squares = self.sums
        clock = self.clock and (at(self.clock[0]), at(self.clock[1]))
        figures = {name: at(figure) for name, figure in self.figures.items()}
        return Part((at(count), at(positions), at(squares)), clock, figures)

    def put(self, places: np.ndarray, part: "Part") -> None:
        """Overwrite those at some places; all are arrays."""
        pairs = [*zip(self.sums, part.sums, strict=True)]
        pairs += zip(self.clock or (), part.clock or (), strict=True)
        pairs += [(self.figures[name], figure) for name, figure in part.figures.items()]
        for own, other in pairs:
            own[..., places] = other


def blocks_for(span: Span) -> list[int]:
    """The sizes of the blocks that the windows are made of."""
    longest = int(span.lengths.max(initial=1))
    return [1 << digit for digit in range(longest.bit_length())]


def figures_of_spans(blocks: Mapping[int, Part], span: Span, times: np.ndarray | None) -> Part:
    """The figures of windows by time.

    Args:
        blocks: by size, from `blocks_for`; each by its first reading.
        times: int64 of shape (readings,), microseconds, if times count.
    """
    ends, lengths = span
    found = _of_nothing(blocks[max(blocks)], len(lengths))
    for size, part in blocks.items():
        has, newer = (lengths & size) > 0, lengths & (size - 1)
        alone = np.flatnonzero(has & (newer == 0))
        if len(alone):
            found.put(alone, part.taken(ends[alone] - size + 1))
        rows = np.flatnonzero(has & (newer > 0))
        if len(rows):
            last = ends[rows] - newer[rows]
            a, b = part.taken(last - size + 1), found.taken(rows)
            weights, sums = join_sums(a.sums, b.sums, size)
            clock = None
            if times is not None and a.clock and b.clock:
                passed = times[last] - times[ends[rows]]
                weights, clock = join_times(a.clock, b.clock, passed, weights)
            found.put(rows, Part(sums, clock, join_figures(a.figures, b.figures, weights)))
    return found


def _of_nothing(like: Part, rows: int) -> Part:
    """Figures without readings, to be overwritten."""

    def made(figure: Any, nothing: float = 0.0) -> np.ndarray:
        return np.full((*np.shape(figure)[:-1], rows), nothing)

    count, positions, squares = like.sums
    clock = like.clock and (made(like.clock[0]), made(like.clock[1]))
    figures = {name: made(figure, NOTHING.get(name, 0.0)) for name, figure in like.figures.items()}
    return Part((made(count), made(positions), made(squares)), clock, figures)
