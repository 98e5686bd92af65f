"""One trial of a search for parameters: a model for each fold, trained step by step.

This module does not import the search, because each worker of a cluster would pay for the import.
"""

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector.boosting import SEED
from breezeway.detector.families.family import Family, FoldRows
from breezeway.detector.families.registry import family_of
from breezeway.detector.scorecard import average_precision

PATIENCE = 2
"""After this many steps without a better score a trial has levelled off."""


class Folds:
    """The rows of all folds, and what the trials of a process share of them.

    Args:
        features: float32 (rows, features).
        label: bool (rows,).
        folds: for each the row numbers to fit on and to score.
        contract: what all models of the sensor have in common.
    """

    def __init__(
        self,
        features: np.ndarray,
        label: np.ndarray,
        folds: Sequence[tuple[np.ndarray, np.ndarray]],
        contract: Contract,
    ):
        self._features, self._label, self._contract = features, label, contract
        self._folds = folds
        self._truth = [label[scored] for _, scored in folds]
        self._shared: dict[str, Sequence[Any]] = {}
        self._lock = Lock()

    def trial(self, family: str, params: dict[str, Any]) -> "Trial":
        """Begin a trial of some parameters."""
        kind = family_of(family)
        with self._lock:
            if family not in self._shared:
                defaults = kind.defaults(len(self._features))
                self._shared[family] = kind.shared(self._rows(), self._contract, defaults)
        return Trial(kind, self._shared[family], self._truth, params, self._contract)

    def _rows(self) -> list[FoldRows]:
        return [
            FoldRows(self._features[fit], self._label[fit], self._features[scored])
            for fit, scored in self._folds
        ]


class Trial:
    """The models of one trial, one for each fold, trained step by step together.

    Args:
        family: of the models.
        shared: what `Family.shared` gave for each fold.
        truth: bool, of the rows that each fold scores; one of them is positive.
        params: of the family.
        contract: what all models of the sensor have in common.

    Attributes:
        curve: mean average precision over the folds, after each step.
        cpu_seconds: of the calling threads.
    """

    def __init__(
        self,
        family: Family,
        shared: Sequence[Any],
        truth: Sequence[np.ndarray],
        params: dict[str, Any],
        contract: Contract,
    ):
        self._steps, self._truth = family.steps, truth
        began = time.thread_time()
        self._models = [family.growing(fold, contract, params, SEED) for fold in shared]
        self.cpu_seconds = time.thread_time() - began
        self.curve: list[float] = []

    def step(self, go_on: Callable[[], object] = lambda: None) -> None:
        """Train for a further step.

        Args:
            go_on: is called again and again, and may raise to end it all.
        """
        began = time.thread_time()
        values = []
        for model, truth in zip(self._models, self._truth, strict=True):
            precision = average_precision(truth, model.grow(go_on))
            assert precision is not None, "the search takes folds that hold a positive row"
            values.append(precision)
        self.curve.append(float(np.mean(values)))
        self.cpu_seconds += time.thread_time() - began

    @property
    def ended(self) -> str:
        """`complete`, `levelled`, or nothing yet."""
        if len(self.curve) == self._steps:
            return "complete"
        since_best = len(self.curve) - 1 - int(np.argmax(self.curve))
        return "levelled" if since_best >= PATIENCE else ""
