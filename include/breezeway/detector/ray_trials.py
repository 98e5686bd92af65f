"""A trial of the search for parameters in a worker process of Ray.

A module of its own, because each worker would pay for what the search imports.
"""

from typing import Any

import numpy as np
from ray import tune

from breezeway.contract.contract import Contract
from breezeway.detector.trials import Folds


class RayTrial(tune.Trainable):
    """What trials share of the folds stays in the process, and its next trial reuses it."""

    def setup(  # type: ignore[override]  # `tune.with_parameters` passes all but the first
        self,
        config: dict[str, Any],
        features: np.ndarray,
        label: np.ndarray,
        folds: list[tuple[np.ndarray, np.ndarray]],
        contract: str,
    ) -> None:
        """Read the contract, and start.

        Args:
            config: the trial's `number`, its `family` and the family's `params`.
            features: float32 (rows, features).
            label: bool (rows,).
            folds: for each fold the row numbers to fit on and to score.
            contract: its text.
        """
        self._folds = Folds(features, label, folds, Contract.from_text(contract, "contract.toml"))
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trial = self._folds.trial(new_config["family"], new_config["params"])
        return True

    def step(self) -> dict[str, Any]:
        self._trial.step()
        curve, ended = self._trial.curve, self._trial.ended
        return {
            "best": max(curve),
            "curve": curve,
            "cpu_seconds": self._trial.cpu_seconds,
            "ended": ended,
            "done": bool(ended),
        }
