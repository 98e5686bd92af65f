"""A model of XGBoost: boosted trees, or a forest."""

from collections.abc import Iterator
from typing import Self

import numpy as np

from breezeway.core.errors import DataError
from breezeway.detector.boosting import xgb
from breezeway.detector.covers import count_rows
from breezeway.detector.families.family import FittedModel
from breezeway.detector.model import GROWTH_ROUNDS, model_bytes
from breezeway.detector.platt_scaling import PlattScaling
from breezeway.detector.residuals import Residuals

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
