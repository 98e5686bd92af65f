"""BentoML's own API layer at its fastest: no access log, metrics or thread; the booster itself.

Tracing is off through `OTEL_SDK_DISABLED`, which the bench sets.
"""

import os

import bentoml
import numpy as np
import xgboost as xgb


@bentoml.service(logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Tuned:
    def __init__(self) -> None:
        self.booster = xgb.Booster({"nthread": 1}, model_file=os.environ["BENCH_MODEL"])

    @bentoml.api
    async def predict(self, values: list[float]) -> float:
        return float(self.booster.inplace_predict(np.array([values]))[0])
