"""What features are beyond what others explain: linear models of normal rows.

Temperature rises with load, so 70 °C are much for an idling machine and nothing for one at full
power. The residual of the temperature, given the power, is what remains: a fault stands out from
it, whatever the machine is doing.
"""

import json
import logging
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError

if TYPE_CHECKING:
    from breezeway.detector.boosting import xgb

log = logging.getLogger("breezeway")

LARGEST = float(np.finfo(np.float32).max)

RIDGE = 1e-3
"""The penalty on a coefficient of a standardized feature, for each row."""
ATTRIBUTE = "residuals"
"""Of a booster: the residuals that it was fitted with."""


class Residuals(NamedTuple):
    """Fitted linear models, one for each explained feature; or none.

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
        """Return the features and the residuals behind them: float32 (rows, features + explained).

        Where a value is missing, the residual is missing.

        Args:
            features: float32 or float64 (rows, features).
        """
        features = features.astype(np.float32, copy=False)
        return np.hstack([features, self.of_rows(features)]) if len(self.of) else features

    def of_rows(self, features: np.ndarray) -> np.ndarray:
        """Return the residuals alone: float32 (rows, explained).

        Args:
            features: float32 (rows, features).
        """
        usual = features[:, self.given].astype(np.float64) @ self.coefficients + self.intercept
        found: np.ndarray = (features[:, self.of] - usual).astype(np.float32)
        return found

    def by_feature(self, parts: np.ndarray) -> np.ndarray:
        """Return (rows, features) of (rows, features + explained): the part of a residual counts as
        that of the feature that it is of."""
        count = parts.shape[1] - len(self.of)
        found: np.ndarray = parts[:, :count].copy()
        found[:, self.of] += parts[:, count:]
        return found

    def keep_in(self, booster: "xgb.Booster") -> None:
        """Keep the residuals in the booster that was fitted with them, for `of_booster`."""
        if len(self.of):
            said = {name: part.tolist() for name, part in self._asdict().items()}
            booster.set_attr(**{ATTRIBUTE: json.dumps(said)})

    @classmethod
    def of_booster(cls, booster: "xgb.Booster") -> Self:
        """Return the residuals that a booster was fitted with.

        Raises:
            DataError: they do not fit the booster.
        """
        try:
            text = booster.attr(ATTRIBUTE)
            if text is None:
                return cls(*NO_RESIDUALS)
            said = json.loads(text)
            of, given = (np.array(said[name], np.int64) for name in ("of", "given"))
            coefficients, intercept = (
                np.array(said[name], np.float64) for name in ("coefficients", "intercept")
            )
        except (
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
            RecursionError,
            AssertionError,
        ) as error:
            # XGBoost asserts that an attribute is not empty.
            raise DataError(f"residuals of a model: {type(error).__name__}: {error}") from None
        features = booster.num_features() - len(of) if of.ndim == 1 else 0
        positions = np.concatenate([of.ravel(), given.ravel()])
        if (
            (coefficients.shape, intercept.shape) != ((given.size, of.size), of.shape)
            or given.ndim != 1
            or not ((positions >= 0) & (positions < features)).all()
        ):
            raise DataError("residuals of a model: they are not those of its features.")
        return cls(of, given, coefficients, intercept)


NO_RESIDUALS = Residuals(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 0)), np.empty(0)
)


def fit_residuals(features: np.ndarray, normal: np.ndarray, contract: Contract) -> Residuals:
    """Fit the residuals that a contract asks for.

    Args:
        features: float32 (rows, features).
        normal: bool (rows,): the rows to learn from.
    """
    residual, names = contract.features.residual, contract.feature_names
    if residual is None:
        return NO_RESIDUALS
    of, given = ([names.index(name) for name in each] for each in (residual.of, residual.given))
    known = features[:, given].astype(np.float64)
    complete = normal & ~np.isnan(known).any(axis=1)
    coefficients, intercept = np.full((len(given), len(of)), np.nan), np.full(len(of), np.nan)
    for position, feature in enumerate(of):
        rows = complete & ~np.isnan(features[:, feature])
        if rows.any():
            x, y = known[rows], features[rows, feature].astype(np.float64)
            coefficients[:, position], intercept[position] = _ridge(x, y)
        else:
            log.warning(
                "%s: no normal row has a value for it and for all of features.residual.given, so "
                "its residual is missing",
                names[feature],
            )
    return Residuals(np.array(of), np.array(given), coefficients, intercept)


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """The coefficients (given,) and the intercept."""
    center, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1
    x = (x - center) / scale
    gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    coefficients = np.linalg.solve(gram, x.T @ (y - y.mean())) / scale
    return coefficients, float(y.mean() - center @ coefficients)
