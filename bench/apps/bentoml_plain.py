"""BentoML as its XGBoost example has it."""

import os

import bentoml
import numpy as np
import xgboost as xgb


@bentoml.service(resources={"cpu": "1"}, traffic={"timeout": 10})
class Plain:
    def __init__(self) -> None:
        self.model = xgb.XGBClassifier()
        self.model.load_model(os.environ["BENCH_MODEL"])

    @bentoml.api
    def predict(self, data: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(data)
