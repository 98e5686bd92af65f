"""A forest of XGBoost: many deep trees beside each other, each of other rows, averaged."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector.boosting import bins_for
from breezeway.detector.families.family import Family, FoldRows
from breezeway.detector.families.trees import FoldMatrices, Grower, TreeModel, fold_matrices
from breezeway.detector.model import fit

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

TREES = 100


class Forest(Family):
    """A random forest (Breiman, 2001), of trees that each give log odds."""

    name = "forest"
    suffix = "ubj"
    takes_monotone = True

    def defaults(self, rows: int) -> dict[str, Any]:
        return {
            "max_depth": 8,
            "min_child_weight": 1.0,
            "subsample": 0.632,  # the share of rows that a draw with replacement leaves different
            "colsample_bynode": 0.5,
            "reg_lambda": 1e-3,
            "num_parallel_tree": TREES,
            "learning_rate": 1.0,
            "scale_pos_weight": 1.0,
            "max_bin": bins_for(rows),
        }

    def space(self, label: np.ndarray) -> "dict[str, BaseDistribution]":
        from optuna.distributions import FloatDistribution, IntDistribution

        return {
            "max_depth": IntDistribution(3, 10),
            "min_child_weight": FloatDistribution(0.01, 10, log=True),
            "subsample": FloatDistribution(0.4, 0.9),
            "colsample_bynode": FloatDistribution(0.1, 1.0),
            "reg_lambda": FloatDistribution(1e-4, 10, log=True),
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
        booster = fit(features, label, contract, params, rounds=1, threads=threads, seed=seed)
        return TreeModel(self.name, booster)

    def load(self, native: bytes) -> TreeModel:
        return TreeModel.load(self.name, native)

    def shared(
        self, folds: Sequence[FoldRows], contract: Contract, params: dict[str, Any]
    ) -> Sequence[FoldMatrices]:
        return [fold_matrices(fold, contract, params["max_bin"]) for fold in folds]

    def growing(
        self, fold: FoldMatrices, contract: Contract, params: dict[str, Any], seed: int
    ) -> Grower:
        return Grower(fold, contract, params, seed, rounds_a_step=1)
