"""Windows by time: how many readings came within them, and their figures.

A window is joined from blocks whose sizes are the binary digits of its number of readings, the
largest the oldest. So a window by time has the figures of a window of as many readings.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from breezeway.contract.moments import (
    NOTHING,
    Figures,
    Sums,
    join_counts,
    join_figures,
    join_sums,
    join_times,
    steps_of,
)
from breezeway.contract.statistics import RollingFeature

PIECE = 1 << 17
"""Readings at once: so many times the longest window, in microseconds, are less than 2 ** 63."""

FREQUENT = 8
"""A length that one window in so many has."""


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
    found = {each: np.empty(len(times), np.int64) for each in seconds}
    for first in range(0, len(times), PIECE):
        begin = max(0, first - most + 1)
        here = slice(begin, first + PIECE)
        for each, counts in found.items():
            before = _before(times[here], ages[here], each * 1_000_000)
            counts[first : first + PIECE] = 1 + np.minimum(before, most - 1)[first - begin :]
    return found


def _before(times: np.ndarray, ages: np.ndarray, length: int) -> np.ndarray:
    """The readings before each one that came less than `length` before it."""
    # A gap as long as that, or another device, is as good as any longer one.
    apart = np.minimum(np.diff(times, prepend=times[0]), length)
    apart[ages == 0] = length
    passed = np.cumsum(apart)
    first = np.searchsorted(passed, passed - length, side="right")
    before: np.ndarray = np.arange(len(times)) - first
    return before


def as_readings(feature: RollingFeature, within: Mapping[int, int]) -> RollingFeature:
    """The same feature by readings, if all its windows have the same number of them.

    Args:
        within: how many readings came within a time, where this is the same for all rows.
    """
    if feature.seconds not in within:
        return feature
    length, recent = within[feature.seconds], 0
    if feature.recent_seconds:
        recent = within.get(feature.recent_seconds, length)
    if feature.statistic == "lag":
        length += 1
    if not recent < length <= feature.window:
        return feature
    return RollingFeature(feature.statistic, length, recent)


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
        count: of their values.
        sums: of the positions; None if these are not needed.
        clock: mean times and sums of squared deviations of the times; None if these do not count.
        figures: of their values.
    """

    count: Any
    sums: Sums | None
    clock: tuple[Any, Any] | None
    figures: Figures

    @property
    def steps(self) -> Any:
        """As `statistic_of` takes them."""
        return steps_of(self.count, self.sums, self.clock)

    def each(self, function: Callable[[Any], Any]) -> "Part":
        """With a function of everything."""
        return Part(
            function(self.count),
            self.sums and (function(self.sums[0]), function(self.sums[1])),
            self.clock and (function(self.clock[0]), function(self.clock[1])),
            {name: function(figure) for name, figure in self.figures.items()},
        )

    def at(self, places: np.ndarray | slice) -> "Part":
        """Those at some places."""
        if isinstance(places, slice):
            return self.each(lambda f: f if isinstance(f, float) else f[..., places])
        return self.each(lambda f: f if isinstance(f, float) else f.take(places, axis=-1))

    def put(self, places: np.ndarray | slice, part: "Part") -> None:
        """Overwrite those at some places; all are arrays."""
        pairs = [(self.count, part.count)]
        pairs += zip(self.sums or (), part.sums or (), strict=True)
        pairs += zip(self.clock or (), part.clock or (), strict=True)
        pairs += [(self.figures[name], figure) for name, figure in part.figures.items()]
        for own, other in pairs:
            # Twice as fast as to index the last dimension.
            own.T[places] = other if isinstance(other, float) else other.T


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
    counts = np.bincount(lengths)
    frequent = np.flatnonzero(counts * FREQUENT >= len(lengths)).tolist()
    frequent = sorted((each for each in frequent if each), key=lambda each: -counts[each])
    if not frequent:
        return _of_lengths(blocks, span, times)
    found = _of_nothing(blocks, len(lengths))
    rest = lengths > 0
    for length in frequent:
        # Neighbours need no index, so windows of a frequent length are made of every reading.
        first = max(int(ends.min()), length - 1)
        everywhere = _of_length(blocks, length, slice(first, int(ends.max()) + 1), times)
        if length == frequent[0]:
            found.put(slice(None), everywhere.at(np.maximum(ends - first, 0)))
            found.count.T[~rest] = 0.0
            rest &= lengths != length
        else:
            rows = np.flatnonzero(lengths == length)
            found.put(rows, everywhere.at(ends[rows] - first))
            rest[rows] = False
    if rest.any():
        rows = np.flatnonzero(rest)
        found.put(rows, _of_lengths(blocks, Span(ends[rows], lengths[rows]), times))
    return found


def _of_length(
    blocks: Mapping[int, Part], length: int, ends: slice, times: np.ndarray | None
) -> Part:
    """The figures of windows of one length, whose last readings are neighbours."""
    found, newer = None, 0
    for size, part in blocks.items():
        if not length & size:
            continue
        last = slice(ends.start - newer, ends.stop - newer)
        older = part.at(slice(last.start - size + 1, last.stop - size + 1))
        if found is None:
            found = older
        else:
            passed = None if times is None else times[last] - times[ends]
            found = _joined(older, found, size, passed)
        newer += size
    assert found is not None
    return found


def _of_lengths(blocks: Mapping[int, Part], span: Span, times: np.ndarray | None) -> Part:
    """The figures of windows of many lengths."""
    ends, lengths = span
    found = _of_nothing(blocks, len(lengths))
    for size, part in blocks.items():
        has, newer = (lengths & size) > 0, lengths & (size - 1)
        alone = np.flatnonzero(has & (newer == 0))
        found.put(alone, part.at(ends[alone] - size + 1))
        rows = np.flatnonzero(has & (newer > 0))
        if not len(rows):
            continue
        last = ends[rows] - newer[rows]
        passed = None if times is None else times[last] - times[ends[rows]]
        found.put(rows, _joined(part.at(last - size + 1), found.at(rows), size, passed))
    return found


def _joined(older: Part, newer: Part, size: int, passed: np.ndarray | None) -> Part:
    """Both parts.

    Args:
        size: readings of the older one.
        passed: see `join_times`.
    """
    weights, count = join_counts(older.count, newer.count)
    sums = clock = None
    if older.sums and newer.sums:
        apart, sums = join_sums(older.sums, newer.sums, (older.count, newer.count), size)
        weights = weights._replace(apart=apart)
    if older.clock and newer.clock and passed is not None:
        apart, clock = join_times(older.clock, newer.clock, passed, weights)
        weights = weights._replace(apart=apart)
    return Part(count, sums, clock, join_figures(older.figures, newer.figures, weights))


def _of_nothing(blocks: Mapping[int, Part], rows: int) -> Part:
    """Parts without readings, to be overwritten."""
    like = blocks[max(blocks)]
    found = like.each(lambda figure: np.zeros((*np.shape(figure)[:-1], rows)))
    for name, figure in found.figures.items():
        if name in NOTHING:
            figure[...] = NOTHING[name]
    return found
