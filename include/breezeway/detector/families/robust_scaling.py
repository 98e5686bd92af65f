"""Robust scales of features, and the rows in their middle: what detectors without labels begin
with.

Of what is presumed normal some per cent are faults that nobody has named. So centers and scales are
quantiles, and a covariance is that of the rows that fit it best (Boudt et al., "The minimum
regularized covariance determinant estimator", 2020).
"""

from typing import NamedTuple, Self

import numpy as np

LARGEST = 1000.0
"""Standard deviations: a value further out says no more."""
OUTER = (0.1, 0.9)
"""Quantiles whose distance gives the scale: a tenth of the rows may be far off on each side."""
OUTER_DEVIATIONS = 2.5631031310892007
"""Standard deviations between these quantiles of a normal distribution."""
INITIAL = 2.5
"""Standard deviations that values are cut off at for the first covariance."""
SMALLEST = 1e-6
"""Added to each variance, so that what never varied has one."""
KEPT = 0.9
"""The share of the rows that a covariance is of."""
STEPS = 4
"""Concentration steps: the rows that are kept hardly change after so many."""


class RobustScaling(NamedTuple):
    """The middle of each feature, and its scale.

    Args:
        middle: float64 (features,): the medians, which also stand for what is missing.
        weight: float64 (features,): one over the standard deviation; 0 of a feature that was
            always missing or always the same, as nothing tells how far is far. It is left out.
    """

    middle: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Self:
        """Find them.

        Args:
            features: float32 or float64 (rows, features), at least one row; NaN is missing.
        """
        middle, weight = np.zeros((2, features.shape[1]))
        for number, column in enumerate(features.T):
            values = column[np.isfinite(column)].astype(np.float64)
            if len(values):
                low, middle[number], high = np.quantile(values, (OUTER[0], 0.5, OUTER[1]))
                # Of a value that is nearly always the same all quantiles are one.
                scale = (high - low) / OUTER_DEVIATIONS or float(values.std())
                weight[number] = 1 / scale if scale > abs(middle[number]) * 1e-9 else 0.0
        return cls(middle, weight)

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return float64 (rows, features): standardized; 0 for what is missing."""
        with np.errstate(invalid="ignore"):  # endless, times a weight of 0
            values = (features.astype(np.float64) - self.middle) * self.weight
        values[np.isnan(values)] = 0.0
        found: np.ndarray = np.clip(values, -LARGEST, LARGEST)
        return found


class Spread(NamedTuple):
    """Where the rows in the middle lie.

    Args:
        center: float64 (features,).
        covariance: float64 (features, features), of full rank.
        rows: float64 (kept rows, features): the rows that it is of, in their order.
        varies: bool (features,): those that are not left out.
    """

    center: np.ndarray
    covariance: np.ndarray
    rows: np.ndarray
    varies: np.ndarray


def robust_spread(values: np.ndarray) -> Spread:
    """Find the center and the covariance of rows in spite of some that do not belong to them.

    The covariance is shrunk (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
    covariance matrices", 2004), so it has an inverse even of few rows.

    Works badly if more than a tenth of the rows are faults, and if these are alike.

    Args:
        values: float64 (rows, features): standardized; at least two rows.
    """
    from sklearn.covariance import ledoit_wolf  # a second or two

    rows = np.clip(values, -INITIAL, INITIAL)
    kept = np.arange(len(values))
    for _ in range(STEPS + 1):
        center = rows.mean(axis=0)
        covariance, _ = ledoit_wolf(rows - center, assume_centered=True)
        covariance += np.eye(len(center)) * SMALLEST
        from_center = values - center
        distance = np.einsum("ij,ij->i", from_center @ np.linalg.inv(covariance), from_center)
        nearest = np.sort(np.argsort(distance, kind="stable")[: max(2, round(KEPT * len(values)))])
        if np.array_equal(nearest, kept):
            break
        kept, rows = nearest, values[nearest]
    return Spread(center, covariance, values[kept], values.any(axis=0))
