"""Histograms that come out the same in whatever order numbers are added.

Written by hand: `numpy.histogram` has to know the bounds before the first number, and a sketch of
quantiles depends on the order.
"""

from collections.abc import Iterable
from math import floor, frexp, inf

import numpy as np
from pydantic import BaseModel, ConfigDict

_SMALLEST = -1000
"""The exponent of bins of zeros alone."""


class Histogram(BaseModel):
    """Counts of numbers in bins of the width 2 ** `exponent`, whose edges are multiples of it.

    The width depends only on the bounds and on how many bins there may be. So it is the same for
    any order in which numbers are added.

    Attributes:
        exponent: of the width.
        first: the number of the first bin, which begins at `first` * 2 ** `exponent`.
        counts: of the bins from `first` on; empty if there is no number.
        lowest, highest: of all numbers; both 0 if there is none.
    """

    model_config = ConfigDict(frozen=True)

    exponent: int = 0
    first: int = 0
    counts: list[int] = []
    lowest: float = 0.0
    highest: float = 0.0


class HistogramCounter:
    """Counts numbers in at most so many bins, which grow with the bounds."""

    def __init__(self, bins: int):
        self._bins = bins
        self._exponent, self._first = _SMALLEST, 0
        self._counts = np.zeros(0, np.int64)
        self._lowest, self._highest = inf, -inf

    def add(self, numbers: np.ndarray, lowest: float, highest: float) -> None:
        """Count numbers between two bounds, which may be wider; none of them NaN or infinite."""
        self._widen(lowest, highest)
        places = np.floor(numbers * 2.0**-self._exponent) - self._first
        self._counts += np.bincount(places.astype(np.intp), minlength=len(self._counts))

    def add_histogram(self, other: Histogram) -> None:
        """Count what another counted in at most as many bins."""
        if other.counts:
            self._widen(other.lowest, other.highest, other.exponent)
            counts = np.array(other.counts, np.int64)
            self._put(counts, other.first, self._exponent - other.exponent)

    def histogram(self) -> Histogram:
        if not len(self._counts):
            return Histogram()
        return Histogram(
            exponent=self._exponent,
            first=self._first,
            counts=self._counts.tolist(),
            lowest=self._lowest,
            highest=self._highest,
        )

    def _widen(self, lowest: float, highest: float, exponent: int = _SMALLEST) -> None:
        """Make bins that reach from one bound to the other, and are no narrower than `exponent`."""
        if lowest >= self._lowest and highest <= self._highest and exponent <= self._exponent:
            return
        self._lowest = min(self._lowest, float(lowest))
        self._highest = max(self._highest, float(highest))
        counts, first, before = self._counts, self._first, self._exponent
        self._exponent = max(before, exponent, _exponent(self._lowest, self._highest, self._bins))
        self._first = _place(self._lowest, self._exponent)
        size = _place(self._highest, self._exponent) - self._first + 1
        self._counts = np.zeros(size, np.int64)
        self._put(counts, first, self._exponent - before)

    def _put(self, counts: np.ndarray, first: int, shift: int) -> None:
        """Add counts of bins that are narrower by so many halvings."""
        places = ((first + np.arange(len(counts))) >> min(shift, 63)) - self._first
        # Some negative number next to 0 may stand in the bin before it.
        np.add.at(self._counts, np.clip(places, 0, None), counts)


def _place(number: float, exponent: int) -> int:
    return floor(number * 2.0**-exponent)


def _exponent(lowest: float, highest: float, bins: int) -> int:
    """That of the narrowest bins of which no more are needed."""
    exact = frexp(max(abs(lowest), abs(highest)))[1] - 52  # a narrower bin would have no neighbour
    narrow = frexp(highest / bins - lowest / bins)[1] - 2
    exponent = max(exact, narrow, _SMALLEST) if lowest < highest else max(exact, _SMALLEST)
    while _place(highest, exponent) - _place(lowest, exponent) >= bins:
        exponent += 1
    return exponent


def merged_histogram(several: Iterable[Histogram], bins: int) -> Histogram:
    counter = HistogramCounter(bins)
    for histogram in several:
        counter.add_histogram(histogram)
    return counter.histogram()
