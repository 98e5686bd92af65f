"""Logistic regression: one weight a feature."""

from typing import TYPE_CHECKING, Any

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector.families.dense import DenseModel
from breezeway.detector.families.family import Family
from breezeway.detector.families.scikit_learn import learn, number, refuse_others
from breezeway.detector.families.standardization import fit_standardization

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ITERATIONS = 1000


class LogisticRegression(Family):
    """scikit-learn's logistic regression, with a penalty on the squares of the weights."""

    name = "logistic regression"

    def defaults(self, rows: int) -> dict[str, Any]:
        return {"C": 1.0}

    def space(self, label: np.ndarray) -> "dict[str, BaseDistribution]":
        from optuna.distributions import FloatDistribution

        return {"C": FloatDistribution(1e-4, 100, log=True)}

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
    ) -> DenseModel:
        assert label is not None, "needs_labels"
        refuse_others(self.name, params, self.defaults(0))
        strength = number(self.name, params, "C")
        before = fit_standardization(features, ~label, contract)
        values = before(features)
        from sklearn.linear_model import LogisticRegression as Regression

        found = learn(Regression(C=strength, max_iter=ITERATIONS), values, label)
        layer = found.coef_.T.astype(np.float64), found.intercept_.astype(np.float64)
        origin = values.mean(axis=0)
        return DenseModel(self.name, contract.feature_names, before, [layer], "relu", origin, [])

    def load(self, native: bytes) -> DenseModel:
        return DenseModel.load(self.name, native)
