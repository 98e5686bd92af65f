"""Turns a booster into the ONNX graph that scores in its place.

A module of its own: only what fits a detector needs the package `onnx`. `docs/decisions/onnx.md`
says why the graph is not made by a converter.
"""

import json
import math
from typing import Any

import numpy as np

from breezeway.detector.boosting import xgb
from breezeway.detector.onnx_graph import WITH_RESIDUALS, Graph
from breezeway.detector.residuals import Residuals


def to_onnx(booster: xgb.Booster) -> bytes:
    """Return the graph of a booster of one probability, with named features.

    Its scores are within 1e-6 of the booster's: log odds have the same bits, and the probability
    of them differs by its rounding. The same booster gives the same bytes.
    """
    residuals = Residuals.of_booster(booster)
    names = list(booster.feature_names or [])
    names = names[: len(names) - len(residuals.of)]
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    graph = Graph(names, residuals)
    graph.add(
        # Not the regressor: it leaves the probability to an operator that computes several rows at
        # once, whose last bits may depend on the place of a row among them.
        "TreeEnsembleClassifier",
        [WITH_RESIDUALS],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1],
        post_transform="LOGISTIC",
        **_trees(learner["gradient_booster"]["model"]["trees"], _log_odds(base)),
    )
    return graph.to_bytes()


def _log_odds(probability: float) -> np.float32:
    """As XGBoost computes them."""
    return np.float32(-math.log(1 / np.float32(probability) - 1))


def _trees(trees: list[dict[str, list[float]]], base: np.float32) -> dict[str, Any]:
    """The attributes that hold the nodes of all trees.

    The base is part of the leaves of the first tree. So float32 numbers are added up in XGBoost's
    order; ONNX Runtime would add a base at the end.
    """
    nodes: dict[str, list[float | str]] = {}
    leaves: dict[str, list[float | str]] = {}
    for tree, each in enumerate(trees):
        for node, left in enumerate(each["left_children"]):
            value, leaf = each["split_conditions"][node], left == -1
            columns = {
                "treeids": tree,
                "nodeids": node,
                "modes": "LEAF" if leaf else "BRANCH_LT",
                "featureids": 0 if leaf else each["split_indices"][node],
                "values": 0.0 if leaf else value,
                "truenodeids": 0 if leaf else left,
                "falsenodeids": 0 if leaf else each["right_children"][node],
                "missing_value_tracks_true": 0 if leaf else int(each["default_left"][node]),
            }
            for name, entry in columns.items():
                nodes.setdefault(f"nodes_{name}", []).append(entry)
            if leaf:
                if tree == 0:
                    value = float(base + np.float32(value))
                weight = {"treeids": tree, "nodeids": node, "ids": 0, "weights": value}
                for name, entry in weight.items():
                    leaves.setdefault(f"class_{name}", []).append(entry)
    return nodes | leaves
