"""What the graphs of all families have in common: the frame, and parts that keep a row's bits.

Operators that sum up, or compute several values at once, may do so in another order for a row by
itself than for one among others. The parts here are put together of operators that cannot:
`docs/decisions/onnx.md`.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from breezeway.detector.onnx_scorer import FEATURE_NAMES, INPUT, OUTPUT
from breezeway.detector.residuals import Residuals

OPSETS = {"": 15, "ai.onnx.ml": 1}
"""Versions of the operators; ONNX Runtime has known these for years."""
IR_VERSION = 8
WITH_RESIDUALS = "features_and_residuals"


class Graph:
    """A graph that is being put together.

    Args:
        names: of the features.
        residuals: are put behind the features, as `WITH_RESIDUALS`.
    """

    def __init__(self, names: Sequence[str], residuals: Residuals):
        self._names = list(names)
        self._nodes: list[NodeProto] = _residual_nodes(residuals)
        self._constants: list[TensorProto] = []
        self._residual_constants = [
            numpy_helper.from_array(value, name)
            for name, value in _residual_constants(residuals).items()
        ]

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        """Add a node; return the name of its first output."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant; return its name."""
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def dense(self, name: str, inputs: str, weights: np.ndarray, bias: np.ndarray) -> str:
        """Add a layer of linear models.

        Products are added up in pairs by additions of whole columns, which give each row the same
        bits wherever it stands.

        Args:
            name: of the layer.
            inputs: float64 (rows, inputs), finite.
            weights: float64 (inputs, outputs).
            bias: float64 (outputs,).

        Returns:
            The name of float64 (rows, outputs).
        """
        count, width = len(weights), 1 << max(0, len(weights) - 1).bit_length()
        if width > count:  # the first input again, with no weight
            places = np.append(np.arange(count), np.zeros(width - count, np.int64))
            inputs = self.add(
                "Gather", [inputs, self.constant(f"{name}_places", places)], [f"{name}_in"], axis=1
            )
            weights = np.vstack([weights, np.zeros((width - count, weights.shape[1]))])
        axis = self.constant(f"{name}_axis", np.array([2]))
        column = self.add("Unsqueeze", [inputs, axis], [f"{name}_column"])
        parts = self.add(
            "Mul", [column, self.constant(f"{name}_weights", weights[None])], [f"{name}_{width}"]
        )
        while width > 1:
            halves = [f"{parts}_a", f"{parts}_b"]
            self.add("Split", [parts], halves, axis=1)
            width //= 2
            parts = self.add("Add", halves, [f"{name}_{width}"])
        sums = self.add(
            "Squeeze", [parts, self.constant(f"{name}_parts", np.array([1]))], [f"{name}_sums"]
        )
        return self.add("Add", [sums, self.constant(f"{name}_bias", bias)], [f"{name}_out"])

    def probability(self, odds: str) -> None:
        """End the graph with the probability of log odds.

        Args:
            odds: float64 (rows, 1).
        """
        exact = self.add("Cast", [odds], ["odds"], to=TensorProto.FLOAT)
        # Not `Sigmoid`: it computes several rows at once. This one computes each by itself.
        self.add(
            "LinearClassifier",
            [exact],
            ["label", "probabilities"],
            domain="ai.onnx.ml",
            classlabels_ints=[0, 1],
            coefficients=[-1.0, 1.0],
            intercepts=[0.0, 0.0],
            post_transform="LOGISTIC",
        )

    def to_bytes(self) -> bytes:
        """Return the graph, which gives the second of `probabilities`."""
        self.add("Gather", ["probabilities", "positive"], [OUTPUT], axis=1)
        graph = helper.make_graph(
            self._nodes,
            "detector",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(self._names)])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None])],
            [
                helper.make_tensor("positive", TensorProto.INT64, [], [1]),
                *self._residual_constants,
                *self._constants,
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*opset) for opset in OPSETS.items()],
            ir_version=IR_VERSION,
            producer_name="breezeway",
        )
        helper.set_model_props(model, {FEATURE_NAMES: json.dumps(self._names)})
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
