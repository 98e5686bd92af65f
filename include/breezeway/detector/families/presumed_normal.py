"""The families that learn what is normal, and need no labels for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector.families.family import Family
from breezeway.detector.families.mahalanobis import fit_mahalanobis
from breezeway.detector.families.nearest_neighbours import Neighbours, fit_nearest_neighbours
from breezeway.detector.families.normal_model import (
    Member,
    NormalModel,
    log_distance,
    shares_of,
)
from breezeway.detector.families.principal_components import fit_principal_components
from breezeway.detector.families.quadratic import QuadraticForm
from breezeway.detector.families.robust_scaling import RobustScaling, Spread, robust_spread
from breezeway.detector.families.scikit_learn import one_thread

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST_ROWS = 100_000
"""More than these, taken evenly, say nothing more about a spread."""
LEAST_ROWS = 20
BLOCKS = 4
"""What is usual of a distance is measured on blocks of rows that it was not fitted on, because
neighbouring readings are alike."""
MEASURED_ROWS = 5_000
"""For what is usual, of each block."""
LIMIT = 0.9
"""The share of the rows within the limit: a fault in a tenth of them does not move it."""

Fit = Callable[[Spread], QuadraticForm | Neighbours]


class PresumedNormal(Family):
    """Learns from rows that are presumed normal; with labels, from those that are not positive.

    Some per cent of them may be faults. A row is scored by its distance, or by the mean logarithm
    of several. Works badly where a fault looks like normal operation of another kind: a model that
    knows no fault knows only what is far.
    """

    needs_labels = False
    fits: ClassVar[tuple[Fit, ...]]

    def defaults(self, rows: int) -> dict[str, Any]:
        return {}

    def space(self, label: np.ndarray) -> "dict[str, BaseDistribution]":
        return {}

    def fit(
        self,
        features: np.ndarray,
        label: np.ndarray | None,
        contract: Contract,
        params: dict[str, Any],
        *,
        rounds: int,
        threads: int,
        seed: int,
    ) -> NormalModel:
        if params:
            raise DataError(f"{self.name}: it has no parameter {min(params)!r}, nor any other.")
        rows = features if label is None else features[~label]
        if len(rows) < LEAST_ROWS:
            raise DataError(
                f"{self.name}: {len(rows)} rows are presumed normal, and at least {LEAST_ROWS} are "
                "needed."
            )
        one_thread()
        rows = _evenly(rows, MOST_ROWS)
        whole = self._distances(rows)
        beyond = self._of_unseen(rows)
        usual, limit = np.quantile(beyond, (0.5, LIMIT), axis=1)
        members = [
            Member(distance, float(half), float(most))
            for distance, half, most in zip(whole.distances, usual, limit, strict=True)
        ]
        return NormalModel(
            self.name, contract.feature_names, whole.scaling, members, whole.shares(rows)
        )

    def load(self, native: bytes) -> NormalModel:
        return NormalModel.load(self.name, native)

    def _distances(self, rows: np.ndarray) -> "_Distances":
        scaling = RobustScaling.of(rows)
        spread = robust_spread(scaling.apply(rows))
        return _Distances(scaling, [fit(spread) for fit in self.fits])

    def _of_unseen(self, rows: np.ndarray) -> np.ndarray:
        """Float64 (distances, rows): logarithms, of rows that they were not fitted on."""
        found = []
        for block in np.array_split(np.arange(len(rows)), BLOCKS):
            others = np.delete(rows, block, axis=0)
            found.append(self._distances(others).logarithms(_evenly(rows[block], MEASURED_ROWS)))
        return np.concatenate(found, axis=1)


class _Distances(NamedTuple):
    scaling: RobustScaling
    distances: list[QuadraticForm | Neighbours]

    def logarithms(self, rows: np.ndarray) -> np.ndarray:
        values = self.scaling.apply(rows)
        return np.array([log_distance(distance.parts(values)) for distance in self.distances])

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """Float64 (features,): the mean share of each."""
        values = self.scaling.apply(_evenly(rows, MEASURED_ROWS))
        parts = [shares_of(distance.parts(values)).mean(axis=0) for distance in self.distances]
        return np.asarray(np.mean(parts, axis=0))


def _evenly(rows: np.ndarray, most: int) -> np.ndarray:
    if len(rows) <= most:
        return rows
    kept: np.ndarray = rows[np.linspace(0, len(rows) - 1, most).astype(int)]
    return kept


class MahalanobisDistance(PresumedNormal):
    """How far a row is from the middle, by how features vary together: `mahalanobis.py`."""

    name = "mahalanobis distance"
    fits = (fit_mahalanobis,)


class PrincipalComponents(PresumedNormal):
    """T² and Q of principal components: `principal_components.py`."""

    name = "principal components"
    fits = (fit_principal_components,)


class NearestNeighbours(PresumedNormal):
    """How far the nearest normal rows are: `nearest_neighbours.py`."""

    name = "nearest neighbours"
    fits = (fit_nearest_neighbours,)


class AverageDistance(PresumedNormal):
    """The three distances together: what one does not see, another may."""

    name = "average distance"
    fits = (fit_mahalanobis, fit_principal_components, fit_nearest_neighbours)
