"""The search for parameters: Optuna, with the same result every time.

Trials run in parallel and end in any order, so nothing may depend on that order. Whether a trial is
suggested or pruned depends only on the results of all trials except the few just before it. So
threads of this process and workers of a Ray cluster give the same.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Condition

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.detector.boosting import SEED, balancing_weight, bins_for
from breezeway.detector.folds import split
from breezeway.detector.model import default_params
from breezeway.detector.table import Table
from breezeway.detector.trials import ROUNDS_A_STEP, Boosters, FoldMatrices, fold_matrices

log = logging.getLogger("breezeway")

SPACE = {
    "max_depth": IntDistribution(2, 7),
    "learning_rate": FloatDistribution(0.03, 0.3, log=True),
    "min_child_weight": FloatDistribution(0.5, 50, log=True),
    "subsample": FloatDistribution(0.5, 1.0),
    "colsample_bytree": FloatDistribution(0.4, 1.0),
    "reg_lambda": FloatDistribution(0.1, 30, log=True),
    "gamma": FloatDistribution(0.0, 5.0),
}
"""Besides, `scale_pos_weight`: 1, or what balances the classes."""

WEIGHT_GAIN = 0.01
"""The average precision that a class weight has to gain: with one, scores are no probabilities."""

GRACE_STEPS = 2
"""Steps of every trial before it is compared with others."""
ENOUGH_TRIALS = 4
"""The number of earlier trials that a comparison needs."""

AHEAD = 2
"""How many further trials may start while a trial takes long."""
RANDOM_TRIALS = 4
"""Random trials before the search starts to learn."""


@dataclass(frozen=True)
class SearchTrial:
    """One set of parameters and its results.

    Args:
        number: from 0; trial 0 has the default parameters.
        curve: mean average precision over the folds after each `ROUNDS_A_STEP` rounds.
        ended: `complete` (all rounds), `levelled` (no gain for `PATIENCE` steps) or `behind`
            (pruned: not among the best of earlier trials).
    """

    number: int
    params: dict[str, float]
    curve: list[float]
    ended: str

    @property
    def average_precision(self) -> float:
        return max(self.curve)

    @property
    def rounds(self) -> int:
        return (self.curve.index(self.average_precision) + 1) * ROUNDS_A_STEP


def search(table: Table, contract: Contract, count: int, settings: Settings) -> list[SearchTrial]:
    """Try `count` sets of parameters.

    `settings.threads` trials run in parallel, with one thread each: here, or on the Ray cluster of
    `RAY_ADDRESS`. The result depends on that number, the data and the count, but not on the place,
    speed and load of the machine.

    The best average precision of many is too optimistic: `train` reports its own estimate.

    Returns:
        The trials in the order of their numbers.

    Raises:
        DataError: no fold has both classes in the rows to fit on and in the rows to score.
        ServiceUnavailable: the Ray cluster doesn't answer, or a worker died.
    """
    folds = split(table.rows, contract)
    scorable = [(fold.fit, fold.scored) for fold in folds if table.rows.label[fold.scored].any()]
    if not scorable:
        raise DataError("split: no fold has a positive row to be scored on; more data is needed.")
    study = Study(table, count, settings.threads + AHEAD)
    if os.environ.get("RAY_ADDRESS"):
        from breezeway.detector.ray_search import try_on_ray  # two seconds, and only for a cluster

        try_on_ray(study, table, contract, scorable, settings.threads)
    else:
        label, bins = table.rows.label, bins_for(len(table.features))
        matrices = fold_matrices(table.features, label, scorable, contract, bins)
        _Threads(study, matrices, contract).run(settings.threads)
    return study.trials


def best(trials: list[SearchTrial]) -> SearchTrial:
    """Return the trial with the highest average precision; of equal trials, the first.

    One with a class weight has to be better than all without one by `WEIGHT_GAIN`.
    """

    def reached(trial: SearchTrial) -> tuple[float, int]:
        weighted = trial.params["scale_pos_weight"] != 1
        return trial.average_precision - WEIGHT_GAIN * weighted, -trial.number

    return max(trials, key=reached)


class Study:
    """What is tried next, and what is not worth going on with.

    Optuna's TPE suggests trial n from the results of trials 0 to n - `lag`. So the next trial can
    start as soon as one ends, unless a trial takes as long as several others.

    A trial goes on after step s if its best score so far is among the best of 2 s earlier trials at
    that step: as in successive halving (Jamieson and Talwalkar, "Non-stochastic Best Arm
    Identification and Hyperparameter Optimization", 2016), the share that goes on falls as the
    rounds that it has had rise. Only trials 0 to n - `lag` count: they have ended before trial n
    starts, whatever the timing.

    Args:
        table: what parameters are searched for.
        count: of trials.
        lag: from the last trial that counts for another one.
    """

    def __init__(self, table: Table, count: int, lag: int):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.count = count
        self.defaults = default_params(len(table.features))
        weights = (1.0, balancing_weight(table.rows.label))
        self._space = {**SPACE, "scale_pos_weight": CategoricalDistribution(weights)}
        self._lag = lag
        sampler = optuna.samplers.TPESampler(seed=SEED, n_startup_trials=RANDOM_TRIALS)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._study.enqueue_trial({name: self.defaults[name] for name in self._space})
        self._suggested: list[optuna.Trial] = []
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

    def suggest(self) -> tuple[int, dict[str, float]] | None:
        """The number and the parameters of the next trial; None as long as it has to wait."""
        number = len(self._suggested)
        if number >= self._lag:
            shown = self._ended.get(number - self._lag)
            if shown is None:
                return None
            self._study.tell(self._suggested[shown.number], shown.average_precision)
        trial = self._study.ask(self._space)
        self._suggested.append(trial)
        return number, {**self.defaults, **trial.params}

    def is_behind(self, number: int, curve: Sequence[float]) -> bool:
        """Whether to prune a trial that has come so far."""
        self._curves[number] = list(curve)
        bests = [
            max(earlier[: len(curve)])
            for other, earlier in self._curves.items()
            if other <= number - self._lag
        ]
        if len(curve) < GRACE_STEPS or len(bests) < ENOUGH_TRIALS:
            return False
        return bool(max(curve) < np.quantile(bests, 1 - 1 / (2 * len(curve))))

    def end(self, trial: SearchTrial) -> None:
        self._ended[trial.number] = trial
        log.info(
            "trial %d of %d: average precision %.4f after %d rounds (%s)",
            trial.number + 1,
            self.count,
            trial.average_precision,
            len(trial.curve) * ROUNDS_A_STEP,
            trial.ended,
        )


class _Cancelled(Exception):
    """Another trial failed, or the step is being ended."""


class _Threads:
    """Runs the trials of a study in threads, which share the matrices: XGBoost needs no GIL.

    Args:
        study: suggests the trials, and gets their results.
        matrices: of the folds.
        contract: of the sensor.
    """

    def __init__(self, study: Study, matrices: list[FoldMatrices], contract: Contract):
        self._study, self._matrices, self._contract = study, matrices, contract
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
            number, params = suggested
            boosters, ended = Boosters(self._matrices, params, self._contract), ""
            while not ended:
                boosters.step(self._go_on)
                with self._turn:
                    behind = self._study.is_behind(number, boosters.curve)
                ended = boosters.ended or ("behind" if behind else "")
            with self._turn:
                self._study.end(SearchTrial(number, params, boosters.curve, ended))
                self._turn.notify_all()

    def _next(self) -> tuple[int, dict[str, float]] | None:
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
