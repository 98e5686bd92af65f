"""What features are beyond what others explain: linear models of normal rows.

Temperature rises with load, so 70 °C are much for an idling machine and nothing for one at full
power. The residual of the temperature, given the power, is what remains: a fault stands out from
it, whatever the machine is doing.
"""

import json
import logging
from typing import NamedTuple, Self

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError

log = logging.getLogger("breezeway")

RIDGE = 1e-3
"""The penalty on a coefficient of a standardized feature, for each row."""


class Residuals(NamedTuple):
    """Fitted models, one for each explained feature.

    With a penalty, because features that explain may hardly differ from each other (Hoerl and
    Kennard, "Ridge Regression", 1970).
    """

    of: np.ndarray
    """int (explained,): positions of the features that are explained."""
    given: np.ndarray
    """int (given,): positions of the features that explain them."""
    coefficients: np.ndarray
    """float64 (given, explained)."""
    intercept: np.ndarray
    """float64 (explained,)."""

    def beside(self, features: np.ndarray) -> np.ndarray:
        """Return the features and, behind them, the residuals: float32 (rows, features + explained).

        Where a value is missing, the residual is missing.

        Args:
            features: float32 or float64 (rows, features).
        """
        features = features.astype(np.float32, copy=False)
        known = features[:, self.given].astype(np.float64)
        usual = known @ self.coefficients + self.intercept
        residual = features[:, self.of].astype(np.float64) - usual
        return np.hstack([features, residual.astype(np.float32)])

    def to_text(self) -> str:
        """Return JSON that `from_text` reads."""
        return json.dumps({name: part.tolist() for name, part in self._asdict().items()})

    @classmethod
    def from_text(cls, text: str, contract: Contract) -> Self:
        """Read what `to_text` wrote.

        Raises:
            DataError: it does not fit to the contract.
        """
        of, given = _positions(contract)
        try:
            said = json.loads(text)
            coefficients = np.array(said["coefficients"], np.float64)
            intercept = np.array(said["intercept"], np.float64)
            fits = said["of"] == of.tolist() and said["given"] == given.tolist()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"residuals of a model: {type(error).__name__}: {error}") from None
        shapes = coefficients.shape, intercept.shape
        if not fits or shapes != ((len(given), len(of)), (len(of),)):
            raise DataError("residuals of a model: not those of its contract's features.residual.")
        return cls(of, given, coefficients, intercept)


def fit_residuals(features: np.ndarray, normal: np.ndarray, contract: Contract) -> Residuals | None:
    """Fit the residuals that a contract asks for.

    Args:
        features: float32 (rows, features).
        normal: bool (rows,): the rows to learn from.

    Returns:
        None if it asks for none.
    """
    if contract.features.residual is None:
        return None
    of, given = _positions(contract)
    known = features[:, given].astype(np.float64)
    complete = normal & ~np.isnan(known).any(axis=1)
    coefficients = np.full((len(given), len(of)), np.nan)
    intercept = np.full(len(of), np.nan)
    for position, feature in enumerate(of):
        rows = complete & ~np.isnan(features[:, feature])
        if not rows.any():
            log.warning(
                "%s: no normal row has a value for it and for all of features.residual.given, so "
                "its residual is missing",
                contract.feature_names[feature],
            )
            continue
        x, y = known[rows], features[rows, feature].astype(np.float64)
        center, scale = x.mean(axis=0), x.std(axis=0)
        scale[scale == 0] = 1
        x = (x - center) / scale
        gram = x.T @ x + RIDGE * len(x) * np.eye(len(given))
        coefficients[:, position] = np.linalg.solve(gram, x.T @ (y - y.mean())) / scale
        intercept[position] = y.mean() - center @ coefficients[:, position]
    return Residuals(of, given, coefficients, intercept)


def _positions(contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    residual, names = contract.features.residual, contract.feature_names
    if residual is None:
        raise DataError("residuals of a model: its contract has no features.residual.")
    of, given = ([names.index(name) for name in each] for each in (residual.of, residual.given))
    return np.array(of), np.array(given)
