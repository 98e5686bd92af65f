"""A small neural network, whose depth, widths and activation are searched for."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector.families.dense import ACTIVATIONS, DenseModel
from breezeway.detector.families.family import Family, FoldRows
from breezeway.detector.families.scikit_learn import number, one_thread, refuse_others
from breezeway.detector.families.standardization import fit_standardization

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from sklearn.neural_network import MLPClassifier

WIDTHS = (8, 16, 32)
"""Powers of two: the graph fills up a layer to the next one."""
LAYERS = (1, 2)
LEAST_BATCH, MOST_BATCH, BATCHES = 100, 2000, 100
"""Rows of a step of gradient descent: about so many batches a round."""


class NeuralNetwork(Family):
    """scikit-learn's multilayer perceptron; a round is a pass over all rows."""

    name = "neural network"
    default_rounds = 40
    rounds_a_step = 10
    steps = 7

    def defaults(self, rows: int) -> dict[str, Any]:
        return {
            "layers": 1,
            "width": 16,
            "second_width": 8,
            "activation": "relu",
            "alpha": 1e-3,
            "learning_rate": 3e-3,
        }

    def space(self, label: np.ndarray) -> "dict[str, BaseDistribution]":
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        return {
            "layers": CategoricalDistribution(LAYERS),
            "width": CategoricalDistribution(WIDTHS),
            "second_width": CategoricalDistribution(WIDTHS),
            "activation": CategoricalDistribution(tuple(ACTIVATIONS)),
            "alpha": FloatDistribution(1e-5, 10, log=True),
            "learning_rate": FloatDistribution(5e-4, 2e-2, log=True),
        }

    def fit(
        self,
        features: np.ndarray,
        label: np.ndarray | None,
        contract: Contract,
        params: dict[str, Any],
        *,
        rounds: int,
        threads: int,
        seed: int,
    ) -> DenseModel:
        assert label is not None, "needs_labels"
        before = fit_standardization(features, ~label, contract)
        values = before(features)
        network = self._network(params, len(values), seed)
        try:
            for _ in range(rounds):
                network.partial_fit(values, label, classes=[False, True])
        except ValueError as error:  # its weights grew beyond all numbers
            raise DataError(f"{self.name}: it does not settle: {error}") from None
        layers = [
            (weights.astype(np.float64), bias.astype(np.float64))
            for weights, bias in zip(network.coefs_, network.intercepts_, strict=True)
        ]
        names, origin = contract.feature_names, values.mean(axis=0)
        return DenseModel(self.name, names, before, layers, params["activation"], origin, [])

    def _network(self, params: dict[str, Any], rows: int, seed: int) -> "MLPClassifier":
        """A network that has learned nothing yet."""
        own = self.defaults(0)
        refuse_others(self.name, params, own)
        choices = {
            "layers": LAYERS,
            "width": WIDTHS,
            "second_width": WIDTHS,
            "activation": tuple(ACTIVATIONS),
        }
        for name, allowed in choices.items():
            if params.get(name) not in allowed:
                raise DataError(
                    f"{self.name}: {name} is {params.get(name)!r}, expected one of "
                    f"{', '.join(map(str, allowed))}."
                )
        one_thread()
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(
            (params["width"], params["second_width"])[: params["layers"]],
            activation=params["activation"],
            alpha=number(self.name, params, "alpha"),
            learning_rate_init=number(self.name, params, "learning_rate"),
            batch_size=min(rows, int(np.clip(rows // BATCHES, LEAST_BATCH, MOST_BATCH))),
            random_state=seed,
        )

    def load(self, native: bytes) -> DenseModel:
        return DenseModel.load(self.name, native)

    def shared(
        self, folds: Sequence[FoldRows], contract: Contract, params: dict[str, Any]
    ) -> "Sequence[StandardizedFold]":
        found = []
        for fold in folds:
            before = fit_standardization(fold.features, ~fold.label, contract)
            found.append(StandardizedFold(before(fold.features), fold.label, before(fold.scored)))
        return found

    def growing(
        self, fold: "StandardizedFold", contract: Contract, params: dict[str, Any], seed: int
    ) -> "_Growing":
        return _Growing(fold, self._network(params, len(fold.label), seed), self.rounds_a_step)


class StandardizedFold(NamedTuple):
    """The rows of a fold, standardized; all trials of a process share them."""

    values: np.ndarray
    label: np.ndarray
    """bool, of `values`."""
    scored: np.ndarray


class _Growing(NamedTuple):
    fold: StandardizedFold
    network: "MLPClassifier"
    rounds: int

    def grow(self, go_on: Callable[[], object]) -> np.ndarray:
        for _ in range(self.rounds):
            go_on()
            self.network.partial_fit(self.fold.values, self.fold.label, classes=[False, True])
        scores: np.ndarray = self.network.predict_proba(self.fold.scored)[:, 1]
        return scores
