"""One trial of a search for parameters: its boosters, grown step by step.

This module does not import the search, because each worker of a cluster would pay for the import.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector.boosting import booster_params, matrix, xgb
from breezeway.detector.residuals import fit_residuals
from breezeway.detector.scorecard import average_precision

ROUNDS_A_STEP = 20
STEPS = 7
"""A trial has at most 140 rounds; after each step its folds are scored."""
PATIENCE = 2
"""After this many steps without a better score a trial has levelled off."""


class FoldMatrices(NamedTuple):
    """The rows of a fold as boosters take them. All trials of a process share them."""

    learned: xgb.QuantileDMatrix
    label: np.ndarray
    """bool, of `learned`."""
    scored: xgb.DMatrix
    truth: np.ndarray
    """bool, of `scored`."""


def fold_matrices(
    features: np.ndarray,
    label: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    contract: Contract,
    max_bin: int,
) -> list[FoldMatrices]:
    """Make the matrices of all folds.

    Args:
        features: float32 (rows, features).
        label: bool (rows,).
        folds: for each the row numbers to fit on and to score.
        contract: names the features.
        max_bin: of the boosters.
    """
    names = contract.detector_features
    matrices = []
    for fit, scored in folds:
        residuals = fit_residuals(features[fit], ~label[fit], contract)
        learned, held = (residuals.beside(features[rows]) for rows in (fit, scored))
        matrices.append(
            FoldMatrices(
                matrix(learned, label[fit], names, threads=1, max_bin=max_bin),
                label[fit],
                # Not binned: that gives the same scores at twice the time.
                xgb.DMatrix(held, feature_names=names, nthread=1),
                label[scored],
            )
        )
    return matrices


class Boosters:
    """The boosters of one trial, one for each fold, trained step by step together.

    Args:
        matrices: of the folds.
        params: XGBoost's.
        contract: what all models of the sensor have in common.
    """

    def __init__(
        self, matrices: Sequence[FoldMatrices], params: dict[str, Any], contract: Contract
    ):
        self._matrices = matrices
        self._boosters = [
            xgb.Booster(
                booster_params(params, contract.train.monotone, fold.label, threads=1),
                [fold.learned, fold.scored],
            )
            for fold in matrices
        ]
        self.curve: list[float] = []
        """Mean average precision over the folds, after each step."""

    def step(self, go_on: Callable[[], object] = lambda: None) -> None:
        """Grow by `ROUNDS_A_STEP` rounds.

        Args:
            go_on: is called before each round, and may raise to end it all.
        """
        first = len(self.curve) * ROUNDS_A_STEP
        values = []
        for booster, fold in zip(self._boosters, self._matrices, strict=True):
            for number in range(first, first + ROUNDS_A_STEP):
                go_on()
                booster.update(fold.learned, number)
            precision = average_precision(fold.truth, booster.predict(fold.scored))
            assert precision is not None, "the search takes folds that hold a positive row"
            values.append(precision)
        self.curve.append(float(np.mean(values)))

    @property
    def ended(self) -> str:
        """`complete`, `levelled`, or nothing yet."""
        if len(self.curve) == STEPS:
            return "complete"
        since_best = len(self.curve) - 1 - int(np.argmax(self.curve))
        return "levelled" if since_best >= PATIENCE else ""
