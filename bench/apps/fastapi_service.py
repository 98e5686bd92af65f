"""FastAPI, lean: validated by pydantic, scored in the event loop by the booster itself."""

import os

import numpy as np
import xgboost as xgb
from fastapi import FastAPI
from pydantic import BaseModel, create_model

booster = xgb.Booster({"nthread": 1}, model_file=os.environ["BENCH_MODEL"])

Reading = create_model("Reading", **dict.fromkeys(booster.feature_names, float))


class Prediction(BaseModel):
    score: float


app = FastAPI()


@app.post("/predict")
async def predict(reading: Reading) -> Prediction:
    row = np.array([[getattr(reading, name) for name in booster.feature_names]])
    return Prediction(score=booster.inplace_predict(row)[0])
