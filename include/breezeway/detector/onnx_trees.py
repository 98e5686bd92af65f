"""Turns a booster into the ONNX graph that scores in its place.

A module of its own: only what fits a detector needs the converter.
"""

import json

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from breezeway.detector.boosting import xgb
from breezeway.detector.onnx_scorer import FEATURE_NAMES, INPUT, OUTPUT
from breezeway.detector.residuals import Residuals

TREES_INPUT = "with_residuals"
OPSET = 15
"""Of what stands behind the trees; any version of ONNX Runtime of the last years has it."""


def to_onnx(booster: xgb.Booster) -> bytes:
    """Return the graph of a booster with one probability as its score, and with named features.

    Its scores are within 1e-6 of the booster's. The same booster gives the same bytes.
    """
    residuals, names = Residuals.of_booster(booster), booster.feature_names or []
    unnamed = booster.copy()  # the converter reads features by their number alone
    unnamed.feature_names = None
    inputs = [(TREES_INPUT, FloatTensorType([None, len(names)]))]
    model = convert_xgboost(unnamed, name="detector", initial_types=inputs, target_opset=OPSET)
    graph = model.graph
    names = names[: len(names) - len(residuals.of)]
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(names)]))
    _put_before_trees(graph, residuals)
    probabilities = graph.output[-1].name  # (rows, 2), behind the label, of which nobody asks
    del graph.output[:]
    graph.initializer.append(helper.make_tensor("positive", TensorProto.INT64, [], [1]))
    graph.node.append(helper.make_node("Gather", [probabilities, "positive"], [OUTPUT], axis=1))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None]))
    if not any(each.domain == "" for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", OPSET))
    helper.set_model_props(model, {FEATURE_NAMES: json.dumps(names)})
    return bytes(model.SerializeToString(deterministic=True))


def _put_before_trees(graph: GraphProto, residuals: Residuals) -> None:
    """Put the nodes that make residuals before the trees.

    Products are summed up row by row, in float64: a product of matrices may sum up a single row in
    another order than many.
    """
    if not len(residuals.of):
        graph.node.insert(0, helper.make_node("Identity", [INPUT], [TREES_INPUT]))
        return
    constants = {
        "of": residuals.of,
        "given": residuals.given,
        "coefficients": residuals.coefficients.T[None],  # (1, explained, given)
        "intercept": residuals.intercept,
        "explained_axis": np.array([1]),
        "given_axis": np.array([2]),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    steps = [
        helper.make_node("Cast", [INPUT], ["exact"], to=TensorProto.DOUBLE),
        helper.make_node("Gather", ["exact", "given"], ["known"], axis=1),
        helper.make_node("Unsqueeze", ["known", "explained_axis"], ["known_of_each"]),
        helper.make_node("Mul", ["known_of_each", "coefficients"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "given_axis"], ["explained"], keepdims=0),
        helper.make_node("Add", ["explained", "intercept"], ["usual"]),
        helper.make_node("Gather", ["exact", "of"], ["present"], axis=1),
        helper.make_node("Sub", ["present", "usual"], ["exact_residuals"]),
        helper.make_node("Cast", ["exact_residuals"], ["residuals"], to=TensorProto.FLOAT),
        helper.make_node("Concat", [INPUT, "residuals"], [TREES_INPUT], axis=1),
    ]
    for place, node in enumerate(steps):
        graph.node.insert(place, node)
