"""Histograms that come out the same in whatever order numbers are added.

Written by hand: `numpy.histogram` has to know the bounds before the first number, and a sketch of
quantiles depends on the order.
"""

from collections.abc import Iterable
from math import frexp

import numpy as np
from pydantic import BaseModel, ConfigDict

FIRST = 2000
"""So many numbers show about how wide bins are; the others then need no sorting."""
DENSE = 1 << 18
"""Places that are counted without sorting."""
_SMALLEST = -1000
"""The least exponent of a width."""


class Histogram(BaseModel):
    """Counts of numbers in bins of the width 2 ** `exponent`, whose edges are multiples of it.

    Empty bins take no space. So an outlier far away takes one bin, and leaves the others as narrow
    as they are. The width is the smallest of which no more bins than allowed are needed: it depends
    only on the numbers.

    Attributes:
        exponent: of the width.
        places: of the bins that are not empty, in order; the one at `n` begins at
            `n` * 2 ** `exponent`.
        counts: of these bins.
        lowest, highest: of all numbers; both 0 if there is none.
    """

    model_config = ConfigDict(frozen=True)

    exponent: int = 0
    places: list[int] = []
    counts: list[int] = []
    lowest: float = 0.0
    highest: float = 0.0


class HistogramCounter:
    """Counts numbers in at most so many bins."""

    def __init__(self, bins: int):
        self._bins = bins
        self._exponent = _SMALLEST
        self._places = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._lowest, self._highest = np.inf, -np.inf

    def add(self, numbers: np.ndarray) -> None:
        """Count numbers, none of them NaN or infinite."""
        if not len(self._places) and len(numbers) > FIRST:
            self.add(numbers[:FIRST])
            numbers = numbers[FIRST:]
        if not len(numbers):
            return
        self.reach(float(numbers.min()), float(numbers.max()))
        places = np.floor(numbers * 2.0**-self._exponent).astype(np.int64)
        self._put(*_counted(places))

    def reach(self, lowest: float, highest: float) -> None:
        """Take over bounds of numbers, whether these are counted or not."""
        self._lowest, self._highest = min(self._lowest, lowest), max(self._highest, highest)
        largest = max(abs(lowest), abs(highest))
        if largest:  # narrower bins than this would have no number for each place
            self._widen(frexp(largest)[1] - 52)

    def add_histogram(self, other: Histogram) -> None:
        """Count what another counted in at most as many bins."""
        if other.places:
            self.reach(other.lowest, other.highest)
            self._widen(other.exponent)
            places = np.array(other.places, np.int64)
            shift = min(self._exponent - other.exponent, 63)
            self._put(places >> shift, np.array(other.counts, np.int64))

    def histogram(self) -> Histogram:
        if not len(self._places):
            return Histogram()
        return Histogram(
            exponent=self._exponent,
            places=self._places.tolist(),
            counts=self._counts.tolist(),
            lowest=self._lowest,
            highest=self._highest,
        )

    def _widen(self, exponent: int) -> None:
        if exponent > self._exponent:
            shift = min(exponent - self._exponent, 63)
            self._places, self._counts = _summed(self._places >> shift, self._counts)
            self._exponent = exponent

    def _put(self, places: np.ndarray, counts: np.ndarray) -> None:
        """Add counts of places in order, and widen the bins until no more are needed."""
        every = np.concatenate([self._places, places])
        order = np.argsort(every, kind="stable")
        counts = np.concatenate([self._counts, counts])[order]
        self._places, self._counts = _summed(every[order], counts)
        narrow, wide = 0, 63
        while narrow < wide and len(self._places) > self._bins:
            shift = (narrow + wide) // 2
            few = 1 + np.count_nonzero(np.diff(self._places >> shift)) <= self._bins
            narrow, wide = (narrow, shift) if few else (shift + 1, wide)
        self._widen(self._exponent + narrow)


def merged_histogram(several: Iterable[Histogram], bins: int) -> Histogram:
    counter = HistogramCounter(bins)
    for histogram in several:
        counter.add_histogram(histogram)
    return counter.histogram()


def _counted(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each place once, in order, and how often it was there."""
    first = int(places.min())
    if int(places.max()) - first < DENSE:
        return _dense(places, first)
    # Most are near each other, unless numbers have no usual size.
    middle = int(np.median(places[:: max(1, len(places) // FIRST)])) - DENSE // 2
    near = (places >= middle) & (places < middle + DENSE)
    far, counts = np.unique(places[~near], return_counts=True)
    if not near.any():
        return far, counts
    dense = _dense(places[near], middle)
    return np.concatenate([far, dense[0]]), np.concatenate([counts, dense[1]])


def _dense(places: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(places - first)
    there = np.flatnonzero(counts)
    return there + first, counts[there]


def _summed(places: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in order, each once, with the sums of their counts."""
    if not len(places):
        return places, counts
    starts = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
    return places[starts], np.add.reduceat(counts, starts)
