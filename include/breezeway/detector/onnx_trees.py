"""Turns a booster into the ONNX graph that scores in its place.

A module of its own: only what fits a detector needs the package `onnx`. `docs/decisions/onnx.md`
says why the graph is not made by a converter.
"""

import json
import math
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from breezeway.detector.boosting import xgb
from breezeway.detector.onnx_scorer import FEATURE_NAMES, INPUT, OUTPUT
from breezeway.detector.residuals import Residuals

OPSETS = {"": 15, "ai.onnx.ml": 1}
"""Versions of the operators; ONNX Runtime has known these for years."""
IR_VERSION = 8
WITH_RESIDUALS = "features_and_residuals"


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
    nodes = [
        *_residual_nodes(residuals),
        helper.make_node(
            # Not the regressor: it leaves the probability to an operator that computes several rows
            # at once, whose last bits may depend on the place of a row among them.
            "TreeEnsembleClassifier",
            [WITH_RESIDUALS],
            ["label", "probabilities"],
            domain="ai.onnx.ml",
            classlabels_int64s=[0, 1],
            post_transform="LOGISTIC",
            **_trees(learner["gradient_booster"]["model"]["trees"], _log_odds(base)),
        ),
        helper.make_node("Gather", ["probabilities", "positive"], [OUTPUT], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(names)])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None])],
        [
            helper.make_tensor("positive", TensorProto.INT64, [], [1]),
            *(
                numpy_helper.from_array(value, name)
                for name, value in _residual_constants(residuals).items()
            ),
        ],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*opset) for opset in OPSETS.items()],
        ir_version=IR_VERSION,
        producer_name="breezeway",
    )
    helper.set_model_props(model, {FEATURE_NAMES: json.dumps(names)})
    return bytes(model.SerializeToString(deterministic=True))


def _residual_constants(residuals: Residuals) -> dict[str, np.ndarray]:
    if not len(residuals.of):
        return {}
    return {
        "of": residuals.of,
        "given": residuals.given,
        "coefficients": residuals.coefficients.T[None],  # (1, explained, given)
        "intercept": residuals.intercept,
        "explained_axis": np.array([1]),
        "given_axis": np.array([2]),
    }


def _residual_nodes(residuals: Residuals) -> list[NodeProto]:
    """The nodes that put the residuals behind the features.

    Products are summed up row by row, in float64: a product of matrices may sum up a single row in
    another order than many.
    """
    if not len(residuals.of):
        return [helper.make_node("Identity", [INPUT], [WITH_RESIDUALS])]
    return [
        helper.make_node("Cast", [INPUT], ["exact"], to=TensorProto.DOUBLE),
        helper.make_node("Gather", ["exact", "given"], ["known"], axis=1),
        helper.make_node("Unsqueeze", ["known", "explained_axis"], ["known_of_each"]),
        helper.make_node("Mul", ["known_of_each", "coefficients"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "given_axis"], ["explained"], keepdims=0),
        helper.make_node("Add", ["explained", "intercept"], ["usual"]),
        helper.make_node("Gather", ["exact", "of"], ["present"], axis=1),
        helper.make_node("Sub", ["present", "usual"], ["exact_residuals"]),
        helper.make_node("Cast", ["exact_residuals"], ["residuals"], to=TensorProto.FLOAT),
        helper.make_node("Concat", [INPUT, "residuals"], [WITH_RESIDUALS], axis=1),
    ]


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
