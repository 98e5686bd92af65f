"""A trial of the search for parameters in a worker process of Ray.

A module of its own, because each worker would pay for what the search imports.
"""

from typing import Any

import numpy as np
from ray import tune

from breezeway.contract.contract import Contract
from breezeway.detector.trials import Boosters, fold_matrices


class RayTrial(tune.Trainable):
    """The matrices stay in the process, and its next trial reuses them."""

    def setup(  # type: ignore[override]  # `tune.with_parameters` passes all but the first
        self,
        config: dict[str, Any],
        features: np.ndarray,
        label: np.ndarray,
        folds: list[tuple[np.ndarray, np.ndarray]],
        contract: str,
    ) -> None:
        """Make the matrices, and start.

        Args:
            config: XGBoost's parameters, and the trial's `number`.
            features: float32 (rows, features).
            label: bool (rows,).
            folds: for each fold the row numbers to fit on and to score.
            contract: its text.
        """
        self._contract = Contract.from_text(contract, "contract.toml")
        self._matrices = fold_matrices(features, label, folds, self._contract, config["max_bin"])
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        params = {name: value for name, value in new_config.items() if name != "number"}
        self._boosters = Boosters(self._matrices, params, self._contract)
        return True

    def step(self) -> dict[str, Any]:
        self._boosters.step()
        curve, ended = self._boosters.curve, self._boosters.ended
        return {"best": max(curve), "curve": curve, "ended": ended, "done": bool(ended)}
