"""The search for parameters: Optuna, with the same result every time.

Trials run in parallel and end in any order, so nothing may depend on that order. Whether a trial is
suggested or pruned depends only on the results of all trials except the few just before it. So
threads of this process and workers of a Ray cluster give the same.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Condition
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.detector.boosting import SEED
from breezeway.detector.families.registry import BOOSTED_TREES, families_of, family_of
from breezeway.detector.folds import split
from breezeway.detector.table import Table
from breezeway.detector.trials import Folds

log = logging.getLogger("breezeway")

WEIGHT_GAIN = 0.01
"""The average precision that a class weight has to gain: with one, scores are no probabilities."""

GRACE_STEPS = 2
"""Steps of every trial before it is compared with others."""
ENOUGH_TRIALS = 4
"""The number of earlier trials that a comparison needs."""

FAMILY = "family"
"""The name of the choice of a family for Optuna."""
AHEAD = 2
"""How many further trials may start while a trial takes long."""
RANDOM_TRIALS = 4
"""Random trials before the search starts to learn."""
RANDOM_TRIALS_A_FAMILY = 2
"""So many more for each further family."""


@dataclass(frozen=True)
class SearchTrial:
    """One set of parameters and its results.

    Args:
        number: from 0; the first trial of each family has its default parameters.
        curve: mean average precision over the folds after each step of the family's rounds.
        ended: `complete` (all rounds), `levelled` (no gain for `PATIENCE` steps) or `behind`
            (pruned: not among the best of earlier trials).
        cpu_seconds: what it cost; not part of what the same search finds again.
    """

    number: int
    params: dict[str, Any]
    curve: list[float]
    ended: str
    family: str = BOOSTED_TREES
    cpu_seconds: float = field(default=0.0, compare=False)

    @property
    def average_precision(self) -> float:
        return max(self.curve)

    @property
    def rounds(self) -> int:
        step = self.curve.index(self.average_precision) + 1
        return step * family_of(self.family).rounds_a_step


class Suggestion(NamedTuple):
    """What is to be tried.

    Args:
        number: of the trial, from 0.
        params: of the family.
    """

    number: int
    params: dict[str, Any]
    family: str

    def ended(self, curve: list[float], how: str, cpu_seconds: float) -> SearchTrial:
        """The trial of it, once it has ended."""
        return SearchTrial(self.number, self.params, curve, how, self.family, cpu_seconds)


def search(table: Table, contract: Contract, count: int, settings: Settings) -> list[SearchTrial]:
    """Try `count` sets of parameters, of the families that the contract asks for.

    `settings.threads` trials run in parallel, with one thread each: here, or on the Ray cluster of
    `RAY_ADDRESS`. The result depends on that number, the data and the count, but not on the place,
    speed and load of the machine.

    The best average precision of many is too optimistic: `train` reports its own estimate.

    Returns:
        The trials in the order of their numbers.

    Raises:
        UsageError: there are more families than trials.
        DataError: no fold has both classes in the rows to fit on and in the rows to score; or a
            family is not known, or does not fit the contract.
        ServiceUnavailable: the Ray cluster doesn't answer, or a worker died.
    """
    families = families_of(contract)
    if count < len(families):
        raise UsageError(
            f"count: {count}, expected at least {len(families)}: a trial for each family of "
            "[detector]."
        )
    folds = split(table.rows, contract)
    scorable = [(fold.fit, fold.scored) for fold in folds if table.rows.label[fold.scored].any()]
    if not scorable:
        raise DataError("split: no fold has a positive row to be scored on; more data is needed.")
    study = Study(table, count, settings.threads + AHEAD, families)
    if os.environ.get("RAY_ADDRESS"):
        from breezeway.detector.ray_search import try_on_ray  # two seconds, and only for a cluster

        try_on_ray(study, table, contract, scorable, settings.threads)
    else:
        shared = Folds(table.features, table.rows.label, scorable, contract)
        _Threads(study, shared).run(settings.threads)
    return study.trials


def best(trials: list[SearchTrial]) -> SearchTrial:
    """Return the trial with the highest average precision; of equal trials, the first.

    One with a class weight has to be better than all without one by `WEIGHT_GAIN`.
    """

    def reached(trial: SearchTrial) -> tuple[float, int]:
        weighted = trial.params.get("scale_pos_weight", 1) != 1
        return trial.average_precision - WEIGHT_GAIN * weighted, -trial.number

    return max(trials, key=reached)


class FamilyResult(NamedTuple):
    """What the trials of a family came to.

    Args:
        trials: how many.
        average_precision: of the best.
        cpu_seconds: of all its trials.
    """

    family: str
    trials: int
    average_precision: float
    cpu_seconds: float


def by_family(trials: Sequence[SearchTrial]) -> list[FamilyResult]:
    """Compare the families of a search, the one that reached the most first."""
    found = []
    for family in dict.fromkeys(trial.family for trial in trials):
        own = [trial for trial in trials if trial.family == family]
        reached = max(trial.average_precision for trial in own)
        found.append(FamilyResult(family, len(own), reached, sum(t.cpu_seconds for t in own)))
    return sorted(found, key=lambda result: -result.average_precision)


class Study:
    """What is tried next, and what is not worth going on with.

    Optuna's TPE suggests trial n from the results of trials 0 to n - `lag`. So the next trial can
    start as soon as one ends, unless a trial takes as long as several others.

    A trial goes on after step s if its best score so far is among the best of 2 s earlier trials at
    that step: as in successive halving (Jamieson and Talwalkar, "Non-stochastic Best Arm
    Identification and Hyperparameter Optimization", 2016), the share that goes on falls as the
    rounds that it has had rise. Only trials 0 to n - `lag` count: they have ended before trial n
    starts, whatever the timing.

    Of several families TPE suggests the family, too, and so spends more trials on those that reach
    more. A trial is compared with those of its own family alone: a step of another one's rounds is
    another amount of training.

    Args:
        table: what parameters are searched for.
        count: of trials.
        lag: from the last trial that counts for another one.
        families: their names.
    """

    def __init__(
        self, table: Table, count: int, lag: int, families: Sequence[str] = (BOOSTED_TREES,)
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.count = count
        self._families = list(families)
        kinds = {name: family_of(name) for name in families}
        self.defaults = {name: kind.defaults(len(table.features)) for name, kind in kinds.items()}
        self._spaces = {name: kind.space(table.rows.label) for name, kind in kinds.items()}
        self._lag = lag
        random = RANDOM_TRIALS + RANDOM_TRIALS_A_FAMILY * (len(families) - 1)
        sampler = optuna.samplers.TPESampler(seed=SEED, n_startup_trials=random)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        for name, space in self._spaces.items():
            own = {self._key(name, key): self.defaults[name][key] for key in space}
            self._study.enqueue_trial({FAMILY: name, **own} if self._several else own)
        self._suggested: list[tuple[optuna.Trial, str]] = []
        self._ended: dict[int, SearchTrial] = {}
        self._curves: dict[int, list[float]] = {}

    @property
    def trials(self) -> list[SearchTrial]:
        """Those that have ended, in the order of their numbers."""
        return [self._ended[number] for number in sorted(self._ended)]

    @property
    def is_exhausted(self) -> bool:
        """Whether all trials have been suggested."""
        return len(self._suggested) == self.count

    @property
    def _several(self) -> bool:
        return len(self._families) > 1

    def _key(self, family: str, key: str) -> str:
        """The name of a parameter for Optuna: two families may have one of the same name."""
        return f"{family}.{key}" if self._several else key

    def suggest(self) -> Suggestion | None:
        """The next trial; None as long as it has to wait."""
        number = len(self._suggested)
        if number >= self._lag:
            shown = self._ended.get(number - self._lag)
            if shown is None:
                return None
            self._study.tell(self._suggested[shown.number][0], shown.average_precision)
        trial, family = self._ask()
        self._suggested.append((trial, family))
        found = {key: trial.params[self._key(family, key)] for key in self._spaces[family]}
        return Suggestion(number, {**self.defaults[family], **found}, family)

    def _ask(self) -> tuple[optuna.Trial, str]:
        (family, *others) = self._families
        if not others:
            return self._study.ask(self._spaces[family]), family
        trial = self._study.ask()
        family = trial.suggest_categorical(FAMILY, self._families)
        for key, distribution in self._spaces[family].items():
            _suggest(trial, self._key(family, key), distribution)
        return trial, family

    def is_behind(self, number: int, curve: Sequence[float]) -> bool:
        """Whether to prune a trial that has come so far."""
        self._curves[number] = list(curve)
        bests = [
            max(earlier[: len(curve)])
            for other, earlier in self._curves.items()
            if other <= number - self._lag
            and self._suggested[other][1] == self._suggested[number][1]
        ]
        if len(curve) < GRACE_STEPS or len(bests) < ENOUGH_TRIALS:
            return False
        return bool(max(curve) < np.quantile(bests, 1 - 1 / (2 * len(curve))))

    def end(self, trial: SearchTrial) -> None:
        self._ended[trial.number] = trial
        log.info(
            "trial %d of %d: average precision %.4f after %d rounds of %s (%s)",
            trial.number + 1,
            self.count,
            trial.average_precision,
            len(trial.curve) * family_of(trial.family).rounds_a_step,
            trial.family,
            trial.ended,
        )


def _suggest(trial: optuna.Trial, key: str, distribution: BaseDistribution) -> None:
    match distribution:
        case CategoricalDistribution(choices=choices):
            trial.suggest_categorical(key, choices)
        case IntDistribution(low=low, high=high, step=step, log=logarithmic):
            trial.suggest_int(key, low, high, step=step, log=logarithmic)
        case FloatDistribution(low=low, high=high, step=step, log=logarithmic):
            trial.suggest_float(key, low, high, step=step, log=logarithmic)


class _Cancelled(Exception):
    """Another trial failed, or the step is being ended."""


class _Threads:
    """Runs the trials of a study in threads, which share the folds: XGBoost needs no GIL.

    Args:
        study: suggests the trials, and gets their results.
        folds: of the rows.
    """

    def __init__(self, study: Study, folds: Folds):
        self._study, self._folds = study, folds
        self._turn = Condition()
        self._cancelled = False

    def run(self, threads: int) -> None:
        """Return when all trials have ended."""
        with ThreadPoolExecutor(threads) as pool:
            try:
                workers = [pool.submit(self._work) for _ in range(threads)]
                for worker in wait(workers, return_when=FIRST_EXCEPTION).done:
                    worker.result()
            finally:  # on SIGTERM, too
                with self._turn:
                    self._cancelled = True
                    self._turn.notify_all()

    def _work(self) -> None:
        while suggested := self._next():
            trial, ended = self._folds.trial(suggested.family, suggested.params), ""
            while not ended:
                trial.step(self._go_on)
                with self._turn:
                    behind = self._study.is_behind(suggested.number, trial.curve)
                ended = trial.ended or ("behind" if behind else "")
            with self._turn:
                self._study.end(suggested.ended(trial.curve, ended, trial.cpu_seconds))
                self._turn.notify_all()

    def _next(self) -> Suggestion | None:
        with self._turn:
            while not self._study.is_exhausted:
                self._go_on()
                if suggested := self._study.suggest():
                    return suggested
                self._turn.wait()
        return None

    def _go_on(self) -> None:
        if self._cancelled:
            raise _Cancelled
