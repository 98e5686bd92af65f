"""One trial of a search for parameters, run by a worker process of Ray.

This module does not import the search, because each worker would pay for the import.
"""

from typing import Any

import numpy as np
from ray import tune

from breezeway.detector.boosting import booster_params, matrix, xgb
from breezeway.detector.scorecard import average_precision

ROUNDS_A_STEP = 20
STEPS = 7
"""A trial has at most 140 rounds; after each step its folds are scored."""
PATIENCE = 2
"""After this many steps without a better score a trial has levelled off."""


class Boosters(tune.Trainable):
    """The boosters of one trial, one for each fold, trained step by step together.

    The matrices stay in the process, and its next trial reuses them.
    """

    def setup(  # type: ignore[override]  # `tune.with_parameters` passes all but the first
        self,
        config: dict[str, Any],
        features: np.ndarray,
        label: np.ndarray,
        folds: list[tuple[np.ndarray, np.ndarray]],
        names: list[str],
    ) -> None:
        """Make the matrices, and start.

        Args:
            config: XGBoost's parameters, and the trial's `number`.
            features: float32 (rows, features).
            label: bool (rows,).
            folds: for each fold the row numbers to fit on and to score.
            names: of the features.
        """
        self._matrices: list[tuple[xgb.DMatrix, xgb.DMatrix, np.ndarray, np.ndarray]] = []
        for fit, scored in folds:
            learned = matrix(features[fit], label[fit], names, threads=1)
            # Not binned: that gives the same scores at twice the time.
            others = xgb.DMatrix(features[scored], feature_names=names, nthread=1)
            self._matrices.append((learned, others, label[fit], label[scored]))
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        params = {name: value for name, value in new_config.items() if name != "number"}
        self._boosters = [
            xgb.Booster(booster_params(params, label, threads=1), [learned, others])
            for learned, others, label, _ in self._matrices
        ]
        self._curve: list[float] = []
        return True

    def step(self) -> dict[str, Any]:
        first = len(self._curve) * ROUNDS_A_STEP
        values = []
        for booster, (learned, others, _, label) in zip(
            self._boosters, self._matrices, strict=True
        ):
            for number in range(first, first + ROUNDS_A_STEP):
                booster.update(learned, number)
            precision = average_precision(label, booster.predict(others))
            assert precision is not None, "the search takes folds that hold a positive row"
            values.append(precision)
        self._curve.append(float(np.mean(values)))
        since_best = len(self._curve) - 1 - int(np.argmax(self._curve))
        ended = "levelled" if since_best >= PATIENCE else ""
        if len(self._curve) == STEPS:
            ended = "complete"
        return {
            "best": max(self._curve),
            "curve": self._curve,
            "ended": ended,
            "done": bool(ended),
        }
