"""What stands before a model that takes no missing value: fill, standardize, bound."""

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector.families.saved import array, positions
from breezeway.detector.residuals import Residuals, fit_residuals

if TYPE_CHECKING:
    from breezeway.detector.onnx_graph import Graph

BOUND = 10.0
"""Standard deviations: what is further from the mean counts as so far, and an endless value too."""


class Standardization(NamedTuple):
    """Fills, standardizes and bounds the features of a contract and their residuals."""

    residuals: Residuals
    median: np.ndarray
    """float64 (inputs,): stands for a missing value."""
    mean: np.ndarray
    """float64 (inputs,)."""
    scale: np.ndarray
    """float64 (inputs,): the standard deviation; 1 of what is constant."""

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return float64 (rows, inputs), finite.

        Args:
            features: float32 or float64 (rows, features); NaN is missing.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 does not hold is endless
            whole = self.residuals.beside(features).astype(np.float64)
        filled = np.where(np.isnan(whole), self.median, whole)
        bounded: np.ndarray = np.clip((filled - self.mean) / self.scale, -BOUND, BOUND)
        return bounded

    def by_feature(self, values: np.ndarray) -> np.ndarray:
        """Return (rows, features) of (rows, inputs): a residual's value counts as that of the
        feature that it is of."""
        count = values.shape[1] - len(self.residuals.of)
        found = values[:, :count].copy()
        found[:, self.residuals.of] += values[:, count:]
        return found

    def add_to(self, graph: "Graph") -> str:
        """Add the nodes; return the name of float64 (rows, inputs)."""
        from onnx import TensorProto

        from breezeway.detector.onnx_graph import WITH_RESIDUALS

        given = graph.add("Cast", [WITH_RESIDUALS], ["given_values"], to=TensorProto.DOUBLE)
        missing = graph.add("IsNaN", [given], ["missing"])
        median = graph.constant("median", self.median)
        filled = graph.add("Where", [missing, median, given], ["filled"])
        centred = graph.add("Sub", [filled, graph.constant("mean", self.mean)], ["centred"])
        scaled = graph.add("Div", [centred, graph.constant("scale", self.scale)], ["scaled"])
        bounds = [
            graph.constant(name, np.array(value))
            for name, value in (("lowest", -BOUND), ("highest", BOUND))
        ]
        return graph.add("Clip", [scaled, *bounds], ["standardized"])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "residuals": {name: part.tolist() for name, part in self.residuals._asdict().items()},
            "median": self.median.tolist(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any], features: int) -> Self:
        """Read what `to_dict` gave.

        Args:
            features: how many there are.

        Raises:
            ValueError, KeyError, TypeError: it is damaged.
        """
        residuals = saved["residuals"]
        of, given = (positions(residuals[name], features) for name in ("of", "given"))
        inputs = features + len(of)
        scale = array(saved["scale"], inputs)
        if not (scale > 0).all():
            raise ValueError("a scale is not above 0")
        return cls(
            Residuals(
                of,
                given,
                array(residuals["coefficients"], len(given), len(of), missing=True),
                array(residuals["intercept"], len(of), missing=True),
            ),
            array(saved["median"], inputs),
            array(saved["mean"], inputs),
            scale,
        )


def fit_standardization(
    features: np.ndarray, normal: np.ndarray, contract: Contract
) -> Standardization:
    """Fit what the rows are standardized by.

    Args:
        features: float32 (rows, features); NaN is missing.
        normal: bool (rows,): the rows that residuals are fitted on.
    """
    residuals = fit_residuals(features, normal, contract)
    whole = residuals.beside(features).astype(np.float64)
    median, mean, scale = np.zeros((3, whole.shape[1]))
    for place, column in enumerate(whole.T):
        known = column[np.isfinite(column)]
        if len(known):
            median[place] = np.median(known)
        filled = np.where(np.isfinite(column), column, median[place])
        mean[place], scale[place] = filled.mean(), filled.std()
    scale[scale <= np.abs(mean) * 1e-12] = 1
    return Standardization(residuals, median, mean, scale)
