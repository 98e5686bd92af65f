"""A model of dense layers: logistic regression has one, a neural network several.

Its parts of a score are those of DeepLIFT's rescale rule (Shrikumar et al., "Learning important
features through propagating activation differences", 2017), compared with the mean of the rows that
it learned from. Of logistic regression they are coefficient * (value - mean). Of a network with one
hidden layer they are its integrated gradients (Sundararajan et al., "Axiomatic attribution for deep
networks", 2017), without their integral's error. They add up in any case.
"""

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from breezeway.core.errors import DataError
from breezeway.detector.families.family import FittedModel
from breezeway.detector.families.saved import array
from breezeway.detector.families.standardization import Standardization

if TYPE_CHECKING:
    from breezeway.detector.platt_scaling import PlattScaling

ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh"}
"""Of hidden layers → the operator of ONNX."""
MOST_LAYERS, MOST_UNITS = 8, 1024
MOST_ROWS = 2000
"""Evenly taken of all, for the importance of features."""
ALIKE = 1e-9
"""Below this difference of a unit its slope stands for the quotient of differences."""


@dataclass(frozen=True)
class DenseModel(FittedModel):
    """Layers of linear models, with an activation between them; the last gives log odds.

    Args:
        family: the name of its family.
        names: of the features.
        before: what stands before the first layer.
        layers: of each weights, float64 (inputs, outputs), and bias, float64 (outputs,).
        activation: a key of `ACTIVATIONS`.
        origin: float64 (inputs,): the mean of the standardized rows that it learned from.
        decided: the importance of each feature; empty until the model is finished.
    """

    family: str
    names: list[str]
    before: Standardization
    layers: list[tuple[np.ndarray, np.ndarray]]
    activation: str
    origin: np.ndarray
    decided: list[float]

    def to_onnx(self) -> bytes:
        from breezeway.detector.onnx_graph import Graph  # onnx, which a server does without

        graph = Graph(self.names, self.before.residuals)
        values = self.before.add_to(graph)
        for number, (weights, bias) in enumerate(self.layers):
            if number:
                active = f"active_{number}"
                values = graph.add(ACTIVATIONS[self.activation], [values], [active])
            values = graph.dense(f"layer_{number}", values, weights, bias)
        graph.probability(values)
        return graph.to_bytes()

    def to_bytes(self) -> bytes:
        """JSON: numbers stand in it to the bit."""
        saved = {
            "features": self.names,
            "before": self.before.to_dict(),
            "layers": [[part.tolist() for part in layer] for layer in self.layers],
            "activation": self.activation,
            "origin": self.origin.tolist(),
            "importance": self.decided,
        }
        return json.dumps(saved).encode()

    @classmethod
    def load(cls, family: str, native: bytes) -> Self:
        """Load what `to_bytes` gave; see `Family.load`."""
        try:
            return cls._of(family, json.loads(native))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"no saved model of {family}: {reason[:200]}") from None

    @classmethod
    def _of(cls, family: str, saved: dict[str, Any]) -> Self:
        names = saved["features"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("features is no list of names")
        before = Standardization.from_dict(saved["before"], len(names))
        inputs = len(before.mean)
        sizes = [inputs, *(len(bias) for _, bias in saved["layers"])]
        if not 2 <= len(sizes) <= MOST_LAYERS + 1 or max(sizes[1:]) > MOST_UNITS or sizes[-1] != 1:
            raise ValueError("layers do not give one number, or are too many or too wide")
        layers = [
            (array(weights, *shape), array(bias, shape[1]))
            for (weights, bias), shape in zip(saved["layers"], pairwise(sizes), strict=True)
        ]
        if saved["activation"] not in ACTIVATIONS:
            raise ValueError("activation is not known")
        decided = array(saved["importance"], len(names) if saved["importance"] else 0).tolist()
        origin = array(saved["origin"], inputs)
        return cls(family, names, before, layers, saved["activation"], origin, decided)

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        values = self.before(rows)
        own, base = self._through(values), self._through(self.origin[None])
        back = np.ones((len(rows), 1))
        for number in reversed(range(len(self.layers))):
            back = back @ self.layers[number][0].T
            if number:
                back = back * self._rise(own[number - 1], base[number - 1])
        parts = self.before.by_feature(back * (values - self.origin))
        return np.column_stack([parts, np.full(len(rows), base[-1][0, 0])])

    def _through(self, values: np.ndarray) -> list[np.ndarray]:
        """What each layer gives, before its activation."""
        found: list[np.ndarray] = []
        for weights, bias in self.layers:
            found.append((self._active(found[-1]) if found else values) @ weights + bias)
        return found

    def _active(self, values: np.ndarray) -> np.ndarray:
        active: np.ndarray = np.maximum(values, 0) if self.activation == "relu" else np.tanh(values)
        return active

    def _rise(self, own: np.ndarray, base: np.ndarray) -> np.ndarray:
        """By how much activations differ from those of the origin, for each unit of difference."""
        change = own - base
        alike = np.abs(change) < ALIKE
        slope = (base > 0) * 1.0 if self.activation == "relu" else 1 - np.tanh(base) ** 2
        risen = (self._active(own) - self._active(base)) / np.where(alike, 1, change)
        return np.where(alike, slope, risen)

    def finished(self, scaling: "PlattScaling", features: np.ndarray, threads: int) -> Self:
        *hidden, (weights, bias) = self.layers
        last = scaling.slope * weights, scaling.slope * bias + scaling.intercept
        scaled = replace(self, layers=[*hidden, last])
        parts = scaled.contributions(features[:: -(-len(features) // MOST_ROWS)])[:, :-1]
        return replace(scaled, decided=np.abs(parts).mean(axis=0).tolist())

    def importance(self) -> dict[str, float]:
        """How much each feature changes the log odds of a row, on average."""
        return dict(zip(self.names, self.decided, strict=False))
