"""A model of XGBoost: boosted trees, or a forest."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector.boosting import booster_params, matrix, xgb
from breezeway.detector.covers import count_rows
from breezeway.detector.families.family import FittedModel, FoldRows
from breezeway.detector.model import GROWTH_ROUNDS, model_bytes
from breezeway.detector.platt_scaling import PlattScaling
from breezeway.detector.residuals import Residuals, fit_residuals

BEGINNING = b"{L"
"""Of a model in UBJSON: an object whose keys have a length of eight bytes."""
LARGEST = float(np.finfo(np.float32).max)


class TreeModel(FittedModel):
    """Trees of XGBoost that add up to log odds.

    Args:
        family: the name of its family.
        booster: with binary:logistic.
    """

    def __init__(self, family: str, booster: xgb.Booster):
        self.family, self.booster = family, booster

    @classmethod
    def load(cls, family: str, native: bytes) -> Self:
        """Load what `to_bytes` gave; see `Family.load`."""
        if not native.startswith(BEGINNING):  # at an empty file XGBoost ends the process
            raise DataError("XGBoost does not read it: it does not begin as a model of its does.")
        try:
            return cls(family, xgb.Booster({"nthread": 1}, model_file=bytearray(native)))
        except xgb.core.XGBoostError as error:
            raise DataError(f"XGBoost does not read it: {error}") from None

    def to_onnx(self) -> bytes:
        from breezeway.detector.onnx_trees import to_onnx  # onnx, which a server does without

        return to_onnx(self.booster)

    def to_bytes(self) -> bytes:
        return model_bytes(self.booster)

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        """SHAP values, by XGBoost's own TreeSHAP; see `FittedModel.contributions`.

        The part of a residual counts as that of the feature that it is of.
        """
        residuals = Residuals.of_booster(self.booster)
        whole = residuals.beside(np.clip(rows, -LARGEST, LARGEST))
        data = xgb.DMatrix(np.clip(whole, -LARGEST, LARGEST), nthread=1)
        values: np.ndarray = self.booster.predict(data, pred_contribs=True, validate_features=False)
        count = rows.shape[1]
        found = np.column_stack([values[:, :count], values[:, -1]]).astype(np.float64)
        found[:, residuals.of] += values[:, count:-1]
        return found

    def finished(self, scaling: PlattScaling, features: np.ndarray, threads: int) -> Self:
        scaled = scaling.booster(self.booster, threads)
        return type(self)(self.family, count_rows(scaled, features, threads))

    def importance(self) -> dict[str, float]:
        """The total gain of the splits at each feature."""
        gains = self.booster.get_score(importance_type="total_gain")
        return {name: float(np.sum(value)) for name, value in gains.items()}

    def stages(self, features: np.ndarray) -> Iterator[np.ndarray]:
        """With more and more trees."""
        rows = Residuals.of_booster(self.booster).beside(features)
        rounds = self.booster.num_boosted_rounds()
        margin = np.zeros(len(rows))
        for start in range(0, rounds, GROWTH_ROUNDS):
            # The base score is added each time, but that does not change the order of the rows.
            trees = (start, min(start + GROWTH_ROUNDS, rounds))
            margin += self.booster.inplace_predict(
                rows, iteration_range=trees, predict_type="margin"
            )
            yield margin


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


class Grower:
    """A booster of a search on one fold; see `Growing`.

    Args:
        fold: its rows.
        contract: what all models of the sensor have in common.
        params: XGBoost's.
        seed: of its random numbers.
        rounds_a_step: boosting rounds.
    """

    def __init__(
        self,
        fold: FoldMatrices,
        contract: Contract,
        params: dict[str, Any],
        seed: int,
        rounds_a_step: int,
    ):
        self._fold, self._step, self._rounds = fold, rounds_a_step, 0
        fixed = booster_params(params, contract.train.monotone, fold.label, threads=1, seed=seed)
        self._booster = xgb.Booster(fixed, [fold.learned, fold.scored])

    def grow(self, go_on: Callable[[], object]) -> np.ndarray:
        """Grow by a step; see `Growing.grow`."""
        for _ in range(self._step):
            go_on()
            self._booster.update(self._fold.learned, self._rounds)
            self._rounds += 1
        scores: np.ndarray = self._booster.predict(self._fold.scored)
        return scores
