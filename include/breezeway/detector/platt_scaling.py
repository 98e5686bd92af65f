"""Makes a score a probability: Platt scaling, which becomes part of the booster itself.

Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood
Methods", 1999.
"""

import json
from typing import NamedTuple

import numpy as np

from breezeway.detector.boosting import xgb

STEPS = 50
"""Newton's method needs about ten."""
CLOSE = 1e-9
LARGEST_ODDS = 15.0
"""Log odds further from 0 are no different in float32."""


class PlattScaling(NamedTuple):
    """Log odds of a score → `slope` times them plus `intercept`: log odds of the label."""

    slope: float = 1.0
    intercept: float = 0.0

    def scores(self, score: np.ndarray) -> np.ndarray:
        """Return scaled scores; the order of the scores stays the same.

        Args:
            score: float64 (rows,), from 0 to 1; NaN stays NaN.

        >>> PlattScaling(1.0, 0.0).scores(np.array([0.25, 0.5]))
        array([0.25, 0.5 ])
        """
        scaled: np.ndarray = _probability(self.slope * _odds(score) + self.intercept)
        return scaled

    def booster(self, booster: xgb.Booster, threads: int) -> xgb.Booster:
        """Return a booster that gives scaled scores: its leaves and its base are scaled.

        So that whatever loads the model gives the same scores, with nothing beside it to apply.
        """
        saved = json.loads(bytes(booster.save_raw("json")))
        learner = saved["learner"]
        base = float(learner["learner_model_param"]["base_score"].strip("[]"))
        moved = self.scores(np.array([base]))[0]
        learner["learner_model_param"]["base_score"] = f"[{moved:.9E}]"
        for tree in learner["gradient_booster"]["model"]["trees"]:
            for node, child in enumerate(tree["left_children"]):
                if child == -1:  # a leaf, whose value stands in place of a split
                    tree["split_conditions"][node] *= self.slope
            tree["base_weights"] = [self.slope * weight for weight in tree["base_weights"]]
        model_file = bytearray(json.dumps(saved).encode())
        return xgb.Booster({"nthread": threads}, model_file=model_file)


def fit_platt_scaling(label: np.ndarray, score: np.ndarray) -> PlattScaling:
    """Fit the scaling of cross-fitted scores by maximum likelihood.

    Labels count as slightly less than certain, as Platt has it, so that a score which separates
    the classes wholly does not get an endless slope.

    Works badly with few events: their readings are alike, so the fit trusts them too much.

    Args:
        label: bool (rows,), of both classes.
        score: (rows,).

    Returns:
        A slope of 1, and an intercept alone, if the best slope is not above 0: that would turn
        the order around.
    """
    positive = int(label.sum())
    normal = len(label) - positive
    target = np.where(label, (positive + 1) / (positive + 2), 1 / (normal + 2))
    odds = _odds(score)
    one = np.ones_like(odds)
    steeper, intercept = _most_likely(np.column_stack([odds, one]), odds, target)
    if steeper > -1:
        return PlattScaling(1 + float(steeper), float(intercept))
    return PlattScaling(1.0, float(_most_likely(one[:, None], odds, target)[0]))


def _most_likely(inputs: np.ndarray, offset: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fit a logistic regression by Newton's method.

    Args:
        inputs: (rows, inputs).
        offset: (rows,): log odds to which the inputs add.
        target: (rows,), from 0 to 1.

    Returns:
        (inputs,): the weights.
    """
    found = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        probability = _probability(offset + inputs @ found)
        weight = probability * (1 - probability)
        curvature = inputs.T @ (inputs * weight[:, None]) + CLOSE * np.eye(len(found))
        step = np.linalg.solve(curvature, inputs.T @ (target - probability))
        found += np.clip(step, -1, 1)
        if np.abs(step).max() < CLOSE:
            break
    return found


def _odds(score: np.ndarray) -> np.ndarray:
    edge = 1 / (1 + np.exp(LARGEST_ODDS))
    inside = np.clip(np.asarray(score, dtype=np.float64), edge, 1 - edge)
    odds: np.ndarray = np.log(inside / (1 - inside))
    return odds


def _probability(odds: np.ndarray) -> np.ndarray:
    probability: np.ndarray = 1 / (1 + np.exp(-odds))
    return probability
