"""What a training gives, with labels or without: what is registered, and what can be said of it."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from breezeway.contract.contract import Contract
from breezeway.datasets.versions import OpenedVersion
from breezeway.detector.fitting import FittedDetector, Served
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.table import Table
from breezeway.detector.usual import Usual, usual_of


@dataclass(frozen=True, kw_only=True)
class Trained(ABC):
    """The inputs and the result of a training.

    Args:
        table: the rows that the evaluated fit was trained on.
        version: the dataset version.
        fitted: what is evaluated.
        served: what serves.
        lineage: keys of other stores, for tags.
    """

    run_name: str
    model_name: str
    table: Table
    contract: Contract
    version: OpenedVersion
    fitted: FittedDetector
    served: Served
    lineage: Mapping[str, str]

    @property
    @abstractmethod
    def titles(self) -> Mapping[str, str]:
        """The reports, by their paths among the files of the run."""

    @abstractmethod
    def metrics(self) -> dict[str, float | None]:
        """What the evaluation found, by the names that are logged."""

    @abstractmethod
    def write_reports(self, folder: Path) -> None:
        """Make a folder with the reports; the same training gives the same bytes."""

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """What the result of the step says of the evaluation."""

    @cached_property
    def graph(self) -> bytes:
        """What scores: the ONNX graph of the fit that serves."""
        return self.served.model.to_onnx()

    @cached_property
    def scorer(self) -> OnnxScorer:
        return OnnxScorer(self.graph)

    @cached_property
    def sha256(self) -> str:
        """Of the model that serves."""
        return hashlib.sha256(self.graph).hexdigest()

    @cached_property
    def usual(self) -> Usual:
        return usual_of(self.table, self.contract, self.served.model.residuals)

    @property
    def scopes(self) -> dict[str, str]:
        """The rows that each fit knows, for tags: what serves, and what was evaluated."""
        return {"trained_on": self.served.scope.to_json(), "judged_on": self.table.scope.to_json()}

    @property
    def identity(self) -> str:
        """An identity: a second run with the same one has nothing to add to the first."""
        data = [self.lineage.get(key) for key in ("data_tag", "data_hash", "params_tag")]
        text = json.dumps([self.run_name, self.model_name, *data, self.sha256])
        return hashlib.sha256(text.encode()).hexdigest()


def shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures with rounded numbers."""
    return {
        name: round(value, 5) if isinstance(value, float) else value
        for name, value in figures.items()
    }
