"""Scores one row at a time through XGBoost's C API."""

import ctypes
import json
import math
import weakref

import numpy as np

from breezeway.detector.boosting import xgb
from breezeway.detector.scoring import ScoringModel

_LIB, _check_call = xgb.core._LIB, xgb.core._check_call


class RowScorer:
    """Scores one row at a time: `ScoringModel.score` to the last bit, at a fraction of its cost.

    It makes the call that is behind `Booster.inplace_predict`, XGBoosterPredictFromDense of
    XGBoost's C API, with its arguments made once; what Python does around that call takes
    longer than 300 trees. The row lies in one buffer, so one thread at a time may call it.

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
        _check_call(_LIB.XGProxyDMatrixCreate(ctypes.byref(proxy)))
        weakref.finalize(self, _LIB.XGDMatrixFree, proxy)
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
        """Score a row, float64 (features,); NaN is missing."""
        self._row[0] = row
        _check_call(_LIB.XGBoosterPredictFromDense(*self._arguments))
        return self._scores[0]
