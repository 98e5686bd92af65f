"""Distances that are quadratic forms: Mahalanobis', and T² and Q of a principal component analysis.

A form is kept as its symmetric root, so a distance is a sum of squares, one for each feature: its
exact part of the distance, never below 0 (Garthwaite and Koch, "Evaluating the contributions of
individual variables to a quadratic form", 2016).
"""

from typing import NamedTuple

import numpy as np


class QuadraticForm(NamedTuple):
    """A squared distance: the sum of the squares of `root` times a row without its center.

    Args:
        center: float64 (features,).
        root: float64 (features, features), symmetric.
    """

    center: np.ndarray
    root: np.ndarray

    def parts(self, values: np.ndarray) -> np.ndarray:
        """Return float64 (rows, features): the parts of the squared distance.

        Args:
            values: float64 (rows, features): standardized.
        """
        found: np.ndarray = ((values - self.center) @ self.root) ** 2
        return found


def symmetric_root(matrix: np.ndarray, varies: np.ndarray) -> np.ndarray:
    """Return the symmetric square root of a symmetric matrix without negative eigenvalues.

    Args:
        varies: bool (features,): the others have no part in a distance.
    """
    eigenvalues, vectors = np.linalg.eigh(matrix)
    root = (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T
    found: np.ndarray = np.where(np.outer(varies, varies), (root + root.T) / 2, 0.0)
    return found
