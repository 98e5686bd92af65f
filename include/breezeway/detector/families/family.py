"""What a family of detectors gives: something to fit, a graph that scores, and an explanation.

A family is a kind of model, such as boosted trees. Whatever it is fitted by, what scores is an
ONNX graph (`onnx_scorer.py` says of which kind); the model that the graph is made of is kept beside
it, for explanations. `registry.py` says how a family is added, and
`tests/pure/detector/test_families.py` checks each.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

from breezeway.contract.contract import Contract

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from breezeway.detector.platt_scaling import PlattScaling


class FittedModel(ABC):
    """A fitted model of a family.

    Attributes:
        family: the name of its family.
    """

    family: str

    @abstractmethod
    def to_onnx(self) -> bytes:
        """Return the graph that scores; the same model gives the same bytes.

        A row gets the same bits by itself and among others.
        """

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Return the model in its own format, for `Family.load`. Never a pickle."""

    @abstractmethod
    def contributions(self, rows: np.ndarray) -> np.ndarray:
        """Return float64 (rows, features + 1): log odds, which add up to those of the score.

        Args:
            rows: float64 or float32 (rows, features); NaN is missing.

        Returns:
            In the last column what the model says of no row in particular.
        """

    @abstractmethod
    def finished(self, scaling: "PlattScaling", features: np.ndarray, threads: int) -> Self:
        """Return the model that serves: its scores are scaled.

        Args:
            scaling: of the log odds; becomes part of the model.
            features: float32 (rows, features), what it was fitted on. Explanations may compare
                with them.
        """

    @abstractmethod
    def importance(self) -> dict[str, float]:
        """How much each feature decides, by name, in any unit: 0 for nothing."""

    def stages(self, features: np.ndarray) -> Iterator[np.ndarray]:
        """Scores of rows as the model grew, in any unit, for learning curves; the last are those of
        the whole.

        Args:
            features: float32 (rows, features).
        """
        yield self.contributions(features).sum(axis=1)


class FoldRows(NamedTuple):
    """The rows of a fold of a search."""

    features: np.ndarray
    """float32 (rows, features), to fit on."""
    label: np.ndarray
    """bool, of `features`."""
    scored: np.ndarray
    """float32 (rows, features), to score."""


class Growing(Protocol):
    """A model of a search on one fold, which is trained step by step."""

    def grow(self, go_on: Callable[[], object]) -> np.ndarray:
        """Train for a further step; return scores of the fold's rows to score, in any unit.

        Args:
            go_on: may raise to end it all; called at least once each second or so.
        """


class Family(ABC):
    """A kind of detector.

    Training may go by rounds, such as boosting rounds or passes over the rows: then a search looks
    at a model after each step of some rounds, and gives up those that stay behind.

    Attributes:
        name: in a contract, in parameters, and with a saved model.
        suffix: of the file of `FittedModel.to_bytes`.
        needs_labels: whether it learns from labels; if not, `fit` may get none.
        takes_monotone: whether it holds to `[train.monotone]` of a contract.
        default_rounds: if none were tuned.
        rounds_a_step, steps: of a search.
    """

    name: ClassVar[str]
    suffix: ClassVar[str] = "json"
    needs_labels: ClassVar[bool] = True
    takes_monotone: ClassVar[bool] = False
    default_rounds: ClassVar[int] = 1
    rounds_a_step: ClassVar[int] = 1
    steps: ClassVar[int] = 1

    @abstractmethod
    def defaults(self, rows: int) -> dict[str, Any]:
        """The parameters if none were tuned, for a table of so many rows."""

    @abstractmethod
    def space(self, label: np.ndarray) -> "dict[str, BaseDistribution]":
        """What a search tries, by parameter; each has a default. Empty if there is no choice.

        Args:
            label: bool, of all rows.
        """

    @abstractmethod
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
    ) -> FittedModel:
        """Fit a model; the same arguments give the same bytes, whatever the threads.

        Args:
            features: float32 (rows, features) in the order of `contract.feature_names`; NaN is
                missing.
            label: bool (rows,), of both classes; None only for a family that needs no labels.

        Raises:
            DataError: a parameter is none of its own, or it cannot learn from these rows.
        """

    @abstractmethod
    def load(self, native: bytes) -> FittedModel:
        """Load what `FittedModel.to_bytes` gave. The file may be damaged.

        Raises:
            DataError: it cannot be read.
        """

    def shared(
        self, folds: Sequence[FoldRows], contract: Contract, params: dict[str, Any]
    ) -> Sequence[Any]:
        """What all trials of a search share, for each fold; `grow` gets it.

        Args:
            params: those of them that no trial changes.
        """
        return folds

    def growing(self, fold: Any, contract: Contract, params: dict[str, Any], seed: int) -> Growing:
        """Begin a model of a search on a fold, with one thread.

        Without rounds, the one step is `fit`.

        Args:
            fold: as `shared` gave it.
        """
        return _FitAtOnce(self, fold, contract, params, seed)


class _FitAtOnce(NamedTuple):
    family: Family
    fold: FoldRows
    contract: Contract
    params: dict[str, Any]
    seed: int

    def grow(self, go_on: Callable[[], object]) -> np.ndarray:
        go_on()
        fitted = self.family.fit(
            self.fold.features,
            self.fold.label,
            self.contract,
            self.params,
            rounds=self.family.default_rounds,
            threads=1,
            seed=self.seed,
        )
        scores: np.ndarray = fitted.contributions(self.fold.scored).sum(axis=1)
        return scores
