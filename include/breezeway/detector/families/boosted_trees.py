"""Boosted trees of XGBoost: the default family."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector.boosting import balancing_weight, booster_params, matrix, xgb
from breezeway.detector.families.family import Family, FoldRows
from breezeway.detector.families.registry import BOOSTED_TREES
from breezeway.detector.families.trees import TreeModel
from breezeway.detector.model import DEFAULT_ROUNDS, default_params, fit
from breezeway.detector.residuals import fit_residuals

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class BoostedTrees(Family):
    """Gradient boosting: each tree corrects those before it."""

    name = BOOSTED_TREES
    suffix = "ubj"
    takes_monotone = True
    default_rounds = DEFAULT_ROUNDS
    rounds_a_step = 20
    steps = 7

    def defaults(self, rows: int) -> dict[str, Any]:
        return default_params(rows)

    def space(self, label: np.ndarray) -> "dict[str, BaseDistribution]":
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        return {
            "max_depth": IntDistribution(2, 7),
            "learning_rate": FloatDistribution(0.03, 0.3, log=True),
            "min_child_weight": FloatDistribution(0.5, 50, log=True),
            "subsample": FloatDistribution(0.5, 1.0),
            "colsample_bytree": FloatDistribution(0.4, 1.0),
            "reg_lambda": FloatDistribution(0.1, 30, log=True),
            "gamma": FloatDistribution(0.0, 5.0),
            "scale_pos_weight": CategoricalDistribution((1.0, balancing_weight(label))),
        }

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
    ) -> TreeModel:
        assert label is not None, "needs_labels"
        booster = fit(features, label, contract, params, rounds=rounds, threads=threads, seed=seed)
        return TreeModel(self.name, booster)

    def load(self, native: bytes) -> TreeModel:
        return TreeModel.load(self.name, native)

    def shared(
        self, folds: Sequence[FoldRows], contract: Contract, params: dict[str, Any]
    ) -> "Sequence[FoldMatrices]":
        return [fold_matrices(fold, contract, params["max_bin"]) for fold in folds]

    def growing(
        self, fold: "FoldMatrices", contract: Contract, params: dict[str, Any], seed: int
    ) -> "_Growing":
        return _Growing(fold, contract, params, seed, self.rounds_a_step)


class FoldMatrices(NamedTuple):
    """The rows of a fold as boosters take them. All trials of a process share them."""

    learned: xgb.QuantileDMatrix
    label: np.ndarray
    """bool, of `learned`."""
    scored: xgb.DMatrix


def fold_matrices(fold: FoldRows, contract: Contract, max_bin: int) -> FoldMatrices:
    """Make the matrices of a fold.

    Args:
        contract: names the features.
        max_bin: of the boosters.
    """
    names = contract.detector_features
    residuals = fit_residuals(fold.features, ~fold.label, contract)
    learned, held = (residuals.beside(rows) for rows in (fold.features, fold.scored))
    return FoldMatrices(
        matrix(learned, fold.label, names, threads=1, max_bin=max_bin),
        fold.label,
        # Not binned: that gives the same scores at twice the time.
        xgb.DMatrix(held, feature_names=names, nthread=1),
    )


class _Growing:
    def __init__(
        self, fold: FoldMatrices, contract: Contract, params: dict[str, Any], seed: int, step: int
    ):
        self._fold, self._step, self._rounds = fold, step, 0
        fixed = booster_params(params, contract.train.monotone, fold.label, threads=1, seed=seed)
        self._booster = xgb.Booster(fixed, [fold.learned, fold.scored])

    def grow(self, go_on: Callable[[], object]) -> np.ndarray:
        for _ in range(self._step):
            go_on()
            self._booster.update(self._fold.learned, self._rounds)
            self._rounds += 1
        scores: np.ndarray = self._booster.predict(self._fold.scored)
        return scores
