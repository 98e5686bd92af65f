"""How many readings reach each node of a booster's trees: what TreeSHAP weighs branches by.

XGBoost itself weighs them by the sum of second derivatives, in which readings that are clearly
normal hardly count. So its SHAP values would compare a reading with the doubtful ones.
"""

import json

import numpy as np

from breezeway.detector.boosting import xgb
from breezeway.detector.residuals import Residuals

MOST_ROWS = 20_000
"""Evenly taken of all: shares of branches need no more."""
NOBODY = 0.001
"""Of a leaf that no reading reaches; a branch must not weigh nothing."""


def count_rows(booster: xgb.Booster, features: np.ndarray, threads: int) -> xgb.Booster:
    """Return a booster with the same scores, whose covers count rows.

    Args:
        features: float32 (rows, features), of the rows that it was fitted on.
    """
    step = -(-len(features) // MOST_ROWS)
    rows = xgb.DMatrix(Residuals.of_booster(booster).beside(features[::step]), nthread=threads)
    leaves = booster.predict(rows, pred_leaf=True, validate_features=False)
    leaves = leaves.reshape(rows.num_row(), -1).astype(np.int64)
    saved = json.loads(bytes(booster.save_raw("json")))
    for tree, leaf in zip(
        saved["learner"]["gradient_booster"]["model"]["trees"], leaves.T, strict=True
    ):
        left, right = tree["left_children"], tree["right_children"]
        cover = np.maximum(np.bincount(leaf, minlength=len(left)), NOBODY).tolist()
        for node in reversed(range(len(left))):  # children come after their parent
            if left[node] != -1:
                cover[node] = cover[left[node]] + cover[right[node]]
        tree["sum_hessian"] = cover
    model_file = bytearray(json.dumps(saved).encode())
    return xgb.Booster({"nthread": threads}, model_file=model_file)
