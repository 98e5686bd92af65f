"""The distance to the nearest normal rows: knows modes that lie apart, and curves.

Ramaswamy et al., "Efficient algorithms for mining outliers from large data sets", 2000; the mean of
the nearest: Angiulli and Pizzuti, "Fast outlier detection in high dimensional spaces", 2002.
"""

from typing import NamedTuple

import numpy as np

from breezeway.detector.families.robust_scaling import Spread

MOST_REFERENCES = 256
"""Rows that a score is compared with: it takes time and a place in the model for each."""
NEAREST = 5
BLOCK_ROWS = 256
"""Rows whose distances are in memory at the same time."""


class Neighbours(NamedTuple):
    """A squared distance: the mean of those to the `nearest` of some normal rows.

    Args:
        references: float64 (references, features).
    """

    references: np.ndarray
    nearest: int

    def parts(self, values: np.ndarray) -> np.ndarray:
        """Return float64 (rows, features): the parts of the squared distance.

        Args:
            values: float64 (rows, features): standardized.
        """
        found = np.empty_like(values)
        for start in range(0, len(values), BLOCK_ROWS):
            block = values[start : start + BLOCK_ROWS]
            squares = self._squares(block)
            places = np.argpartition(squares, self.nearest - 1, axis=1)[:, : self.nearest]
            differences = self.references[places] - block[:, None, :]
            found[start : start + BLOCK_ROWS] = (differences**2).mean(axis=1)
        return found

    def _squares(self, block: np.ndarray) -> np.ndarray:
        own = (block**2).sum(axis=1)[:, None] + (self.references**2).sum(axis=1)
        squares: np.ndarray = own - 2 * (block @ self.references.T)
        return squares


def fit_nearest_neighbours(spread: Spread) -> Neighbours:
    """Take the rows that scores are compared with, evenly from those in the middle.

    A tenth of the rows that lies furthest out is left out, because among it are the faults.

    Args:
        spread: of these rows, standardized.
    """
    count = min(len(spread.rows), MOST_REFERENCES)
    references = spread.rows[np.linspace(0, len(spread.rows) - 1, count).astype(int)]
    return Neighbours(references, min(NEAREST, len(references)))
