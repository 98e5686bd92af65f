"""Scores one row at a time through XGBoost's public C API.

What is behind `Booster.inplace_predict` is one call of that API; what Python does around it takes
longer than 300 trees. `docs/decisions/row-scorer.md` has the figures.
"""

import ctypes
import json
import math
import weakref

import numpy as np

from breezeway.detector.boosting import xgb
from breezeway.detector.scoring import ScoringModel

_library = ctypes.CDLL(xgb.libpath.find_lib_path()[0])  # the one that XGBoost has loaded itself
_library.XGBGetLastError.restype = ctypes.c_char_p


class RowScorer:
    """Scores one row at a time: `ScoringModel.score` to the last bit, at a fraction of its cost.

    It calls XGBoosterPredictFromDense with arguments that are made once. The row lies in one
    buffer, so one thread at a time may call it.

    Args:
        model: what scores; its booster stays as it is.
    """

    def __init__(self, model: ScoringModel):
        self._booster = model.booster
        self._row = np.zeros((1, len(model.feature_names)))
        array = {
            "data": (self._row.ctypes.data, True),
            "shape": self._row.shape,
            "typestr": "<f8",
            "version": 3,
        }
        config = {
            "type": 0,
            "training": False,
            "iteration_begin": 0,
            "iteration_end": 0,
            "missing": math.nan,
            "strict_shape": False,
            "cache_id": 0,
        }
        proxy = ctypes.c_void_p()
        _check(_library.XGProxyDMatrixCreate(ctypes.byref(proxy)))
        weakref.finalize(self, _library.XGDMatrixFree, proxy)
        self._shape = ctypes.POINTER(ctypes.c_uint64)()
        self._dimensions = ctypes.c_uint64()
        self._scores = ctypes.POINTER(ctypes.c_float)()
        self._arguments = (
            self._booster.handle,
            json.dumps(array).encode(),
            json.dumps(config).encode(),
            proxy,
            ctypes.byref(self._shape),
            ctypes.byref(self._dimensions),
            ctypes.byref(self._scores),
        )

    def __call__(self, row: np.ndarray) -> float:
        """Score a row, float64 (features,); NaN is missing.

        Raises:
            xgb.core.XGBoostError: what the library answers instead of a score.
        """
        self._row[0] = row
        _check(_library.XGBoosterPredictFromDense(*self._arguments))
        score: float = self._scores[0]
        return score


def _check(status: int) -> None:
    if status:
        raise xgb.core.XGBoostError(_library.XGBGetLastError().decode())
