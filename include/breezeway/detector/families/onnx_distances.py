"""Turns a model of normal operation into the ONNX graph that scores in its place.

Rows go through a Scan, which computes each by itself. So a row has the same bits whatever others it
is scored with, though products of matrices, logarithms and exponentials of several rows at once
would not; and memory does not grow with the number of rows.
"""

import json
from typing import TYPE_CHECKING

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from breezeway.detector.families.nearest_neighbours import Neighbours
from breezeway.detector.families.quadratic import QuadraticForm
from breezeway.detector.families.robust_scaling import LARGEST
from breezeway.detector.onnx_scorer import FEATURE_NAMES, INPUT, OUTPUT

if TYPE_CHECKING:
    from breezeway.detector.families.normal_model import NormalModel

OPSET, IR_VERSION = 15, 8
FURTHEST_ODDS = 15.0
"""Log odds are cut off here: beyond, a probability in float32 would be 0 or 1."""


class _Nodes:
    """The nodes of a graph, and its constants."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, operator: str, *inputs: str | float | np.ndarray, **attributes: int) -> str:
        """Add a node; return the name of its result."""
        output = f"{operator}_{len(self.nodes)}"
        names = [self._name(each) for each in inputs]
        node = helper.make_node(operator, names, [output])
        node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
        self.nodes.append(node)
        return output

    def _name(self, given: str | float | np.ndarray) -> str:
        if isinstance(given, str):
            return given
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(given)
        return name


def to_onnx(model: "NormalModel") -> bytes:
    """Return the graph of a model; the same model gives the same bytes."""
    width = len(model.names)
    body = _Nodes()
    values = _standardized(body, model)
    total = ""
    for member in model.members:
        squared = _squared(body, values, member.distance)
        beyond = body.add("Sub", _log_distance(body, squared), member.limit)
        total = body.add("Add", total, beyond) if total else beyond
    odds = body.add("Mul", total, model.slope / len(model.members))
    odds = body.add("Add", odds, model.intercept)
    odds = body.add("Clip", odds, -FURTHEST_ODDS, FURTHEST_ODDS)
    score = body.add("Cast", _probability(body, odds), to=TensorProto.FLOAT)
    row = _side("row", [width])
    scan = helper.make_node(
        "Scan",
        [INPUT],
        [OUTPUT],
        body=helper.make_graph(body.nodes, "of_a_row", [row], [_side(score, [])]),
        num_scan_inputs=1,
    )
    graph = helper.make_graph(
        [scan],
        "detector",
        [_side(INPUT, [None, width])],
        [_side(OUTPUT, [None])],
        [numpy_helper.from_array(value, name) for name, value in body.constants.items()],
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="breezeway",
    )
    helper.set_model_props(made, {FEATURE_NAMES: json.dumps(model.names)})
    return bytes(made.SerializeToString(deterministic=True))


def _side(name: str, shape: list[int | None]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _standardized(body: _Nodes, model: "NormalModel") -> str:
    exact = body.add("Cast", "row", to=TensorProto.DOUBLE)
    centered = body.add("Sub", exact, model.scaling.middle)
    scaled = body.add("Mul", centered, model.scaling.weight)
    known = body.add("Where", body.add("IsNaN", scaled), 0.0, scaled)
    return body.add("Clip", known, -LARGEST, LARGEST)


def _squared(body: _Nodes, values: str, distance: QuadraticForm | Neighbours) -> str:
    """The squared distance, as a number."""
    if isinstance(distance, QuadraticForm):
        centered = body.add("Sub", values, distance.center)
        whitened = body.add("MatMul", centered, distance.root)
        squares = body.add("Mul", whitened, whitened)
        return body.add("ReduceSum", squares, np.array([0]), keepdims=0)
    differences = body.add("Sub", distance.references, values)
    squares = body.add("Mul", differences, differences)
    all_squared = body.add("ReduceSum", squares, np.array([1]), keepdims=0)
    # The two results of TopK are the values and their places.
    nearest = body.add("TopK", all_squared, np.array([distance.nearest]), largest=0)
    body.nodes[-1].output.append(f"{nearest}_places")
    total = body.add("ReduceSum", nearest, np.array([0]), keepdims=0)
    return body.add("Div", total, float(distance.nearest))


def _log_distance(body: _Nodes, squared: str) -> str:
    from breezeway.detector.families.normal_model import NEAREST_ZERO

    logarithm = body.add("Log", body.add("Max", squared, NEAREST_ZERO))
    return body.add("Mul", logarithm, 0.5)


def _probability(body: _Nodes, odds: str) -> str:
    smaller = body.add("Exp", body.add("Neg", odds))
    return body.add("Div", 1.0, body.add("Add", smaller, 1.0))
