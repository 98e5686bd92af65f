"""How far readings are apart, and whether the contract's `interval_seconds` is true of them.

The claim counts: budgets of false alarms, episodes, and the rows between two folds follow from it.
It is checked, but a wrong one is no error, because a device may send on events, or at another rate
for a day.
"""

from collections.abc import Iterable

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.preprocessing.manifest import Spacing

BITS = 46
"""Of a float64, what is dropped: then 64 bins lie between a number and its double."""
BINS = 64 * 64
"""Up to 2 ** 64 microseconds."""
FIRST_BIN = int(np.float64(1).view(np.int64)) >> BITS
LEAST_INTERVALS = 10
"""With fewer nothing is said."""
NEAR, FAR = 1.2, 2.0
"""The median should be within this ratio of the claim, and most single intervals within that."""
FAR_SHARE = 0.2
"""Above it the intervals are called irregular."""


class IntervalTally:
    """The times between readings of a device, counted in bins: any number of them in 64 KB.

    Args:
        claim: the contract's `interval_seconds`.
    """

    def __init__(self, claim: float):
        self._low, self._high = claim / FAR * 1e6, claim * FAR * 1e6
        self._counts, self._sums = np.zeros(BINS), np.zeros(BINS)
        self._far = 0

    def add(self, elapsed: np.ndarray) -> None:
        """Count intervals, int64 microseconds above 0."""
        numbers = elapsed.astype(np.float64)
        bins = (numbers.view(np.int64) >> BITS) - FIRST_BIN
        self._counts += np.bincount(bins, minlength=BINS)
        self._sums += np.bincount(bins, numbers, BINS)
        self._far += int(np.count_nonzero((numbers < self._low) | (numbers > self._high)))

    def merge(self, other: "IntervalTally") -> None:
        self._counts += other._counts
        self._sums += other._sums
        self._far += other._far

    def spacing(self) -> Spacing | None:
        """What is told of them; None without any. The median is the mean of its bin."""
        count = int(self._counts.sum())
        if not count:
            return None
        middle = np.searchsorted(self._counts.cumsum(), count / 2)
        median = self._sums[middle] / self._counts[middle] / 1e6
        return Spacing(
            intervals=count, median_seconds=round(median, 6), far_share=round(self._far / count, 6)
        )


def of_all(several: Iterable[Spacing | None]) -> Spacing | None:
    """What is told of several datasets together; the median is that of their medians."""
    there = sorted((each for each in several if each), key=lambda each: each.median_seconds)
    if not there:
        return None
    counts = np.array([each.intervals for each in there])
    middle = np.searchsorted(counts.cumsum(), counts.sum() / 2)
    far = float(counts @ [each.far_share for each in there]) / int(counts.sum())
    return Spacing(
        intervals=int(counts.sum()),
        median_seconds=there[middle].median_seconds,
        far_share=round(far, 6),
    )


def wrong_claim(contract: Contract, spacing: Spacing | None) -> str | None:
    """One sentence if the contract's `interval_seconds` is not true of readings."""
    if not spacing or spacing.intervals < LEAST_INTERVALS:
        return None
    claim, median = contract.interval_seconds, spacing.median_seconds
    if not claim / NEAR <= median <= claim * NEAR:
        return (
            f"interval_seconds = {claim:g}, but the median interval is {median:.6g} s; budgets of "
            f"false alarms, episodes and folds are wrong by that factor: set it to {median:.3g}"
        )
    if spacing.far_share > FAR_SHARE:
        return (
            f"interval_seconds = {claim:g}, but {spacing.far_share:.0%} of the intervals are less "
            "than half or more than twice of that, so windows span different times: see "
            "features.rate_per and features.max_gap_seconds"
        )
    return None
