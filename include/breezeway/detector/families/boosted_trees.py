"""Boosted trees of XGBoost: the default family."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector.boosting import balancing_weight
from breezeway.detector.families.family import Family, FoldRows
from breezeway.detector.families.registry import BOOSTED_TREES
from breezeway.detector.families.trees import FoldMatrices, Grower, TreeModel, fold_matrices
from breezeway.detector.model import DEFAULT_ROUNDS, default_params, fit

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
    ) -> Sequence[FoldMatrices]:
        return [fold_matrices(fold, contract, params["max_bin"]) for fold in folds]

    def growing(
        self, fold: FoldMatrices, contract: Contract, params: dict[str, Any], seed: int
    ) -> Grower:
        return Grower(fold, contract, params, seed, self.rounds_a_step)
