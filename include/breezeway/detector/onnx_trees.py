"""Turns a booster into the ONNX graph that scores in its place.

A module of its own: only what fits a detector needs the converter.
"""

import json

from onnx import TensorProto, helper
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from breezeway.detector.boosting import xgb
from breezeway.detector.onnx_scorer import FEATURE_NAMES, INPUT, OUTPUT

OPSET = 15
"""Of what stands behind the trees; any version of ONNX Runtime of the last years has it."""


def to_onnx(booster: xgb.Booster) -> bytes:
    """Return the graph of a booster with one probability as its score, and with named features.

    Its scores are within 1e-6 of the booster's. The same booster gives the same bytes.
    """
    names = booster.feature_names or []
    unnamed = booster.copy()  # the converter reads features by their number alone
    unnamed.feature_names = None
    inputs = [(INPUT, FloatTensorType([None, len(names)]))]
    model = convert_xgboost(unnamed, name="detector", initial_types=inputs, target_opset=OPSET)
    graph = model.graph
    probabilities = graph.output[-1].name  # (rows, 2), behind the label, of which nobody asks
    del graph.output[:]
    graph.initializer.append(helper.make_tensor("positive", TensorProto.INT64, [], [1]))
    graph.node.append(helper.make_node("Gather", [probabilities, "positive"], [OUTPUT], axis=1))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None]))
    if not any(each.domain == "" for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", OPSET))
    helper.set_model_props(model, {FEATURE_NAMES: json.dumps(names)})
    return bytes(model.SerializeToString(deterministic=True))
