"""The search for parameters: Ray Tune and Optuna, with the same result every time.

Trials run in parallel and end in any order, so nothing may depend on that order. Whether a trial is
suggested or pruned depends only on the results of all trials except the few just before it.
"""

import logging
import os
import statistics
from dataclasses import dataclass
from typing import Any

from breezeway.core.ray_session import ray, ray_session  # before others import Ray

# Tune reads this when it is imported.
os.environ.update(
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",  # write no files that nobody reads
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    RAY_AIR_NEW_OUTPUT="0",
)

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, InternalError, ServiceUnavailable
from breezeway.core.settings import Settings
from breezeway.detector.boosting import SEED
from breezeway.detector.folds import split
from breezeway.detector.model import DEFAULT_PARAMS
from breezeway.detector.table import Table
from breezeway.detector.trials import ROUNDS_A_STEP, Boosters

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

GRACE_STEPS = 3
"""Steps of every trial before it is compared with others."""
ENOUGH_TRIALS = 4
"""The number of earlier trials that a comparison needs."""

AHEAD = 4
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
            (pruned: worse than the median of earlier trials).
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

    `settings.threads` trials run in parallel, with one thread each. The result depends on that
    number, the data and the count, but not on the speed and load of the machine.

    The best average precision of many is too optimistic: `train` reports its own estimate.

    Returns:
        The trials in the order of their numbers.

    Raises:
        DataError: no fold has both classes in the rows to fit on and in the rows to score.
        ServiceUnavailable: Ray doesn't answer, or a worker died.
    """
    folds = split(table.rows, contract)
    scorable = [fold for fold in folds if table.rows.label[fold.scored].any()]
    if not scorable:
        raise DataError("split: no fold has a positive row to be scored on; more data is needed.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lag = settings.threads + AHEAD
    with ray_session(settings.threads) as folder:
        tuner = tune.Tuner(
            tune.with_parameters(
                Boosters,
                features=table.features,
                label=table.rows.label,
                folds=[tuple(fold) for fold in scorable],
                names=contract.feature_names,
            ),
            tune_config=tune.TuneConfig(
                metric="best",
                mode="max",
                num_samples=count,
                search_alg=_LaggingSearch(lag, count),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder),
                stop=_MedianRule(lag),
                failure_config=tune.FailureConfig(fail_fast=True),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        results = tuner.fit()
        for error in results.errors:
            if isinstance(error, ray.exceptions.RayError) and not isinstance(
                error, ray.exceptions.RayTaskError
            ):
                raise ServiceUnavailable(f"A worker of Ray died: {error}")
            raise InternalError(f"A trial failed: {error}")
        trials = [_trial(results[number]) for number in range(len(results))]
    return sorted(trials, key=lambda trial: trial.number)


def best(trials: list[SearchTrial]) -> SearchTrial:
    """Return the trial with the highest average precision; of equal trials, the first."""
    return max(trials, key=lambda trial: (trial.average_precision, -trial.number))


def _trial(result: tune.Result) -> SearchTrial:
    params, metrics = dict(result.config or {}), result.metrics or {}
    number = params.pop("number")
    return SearchTrial(number, params, metrics["curve"], metrics["ended"] or "behind")


class _LaggingSearch(OptunaSearch):
    """Optuna's TPE, which suggests trial n from the results of trials 0 to n - `lag`.

    So the next trial can start as soon as one ends, unless a trial takes as long as several others.
    This also saves CPU: Tune stops a worker that has no next trial, and starting a worker costs
    as much as a trial.
    """

    def __init__(self, lag: int, count: int):
        sampler = optuna.samplers.TPESampler(seed=SEED, n_startup_trials=RANDOM_TRIALS)
        super().__init__(
            space=SPACE,
            metric="best",
            mode="max",
            sampler=sampler,
            points_to_evaluate=[DEFAULT_PARAMS],
        )
        self._lag = lag
        self._count = count
        self._numbers: dict[str, int] = {}
        self._ended: dict[str, tuple[dict[str, Any] | None, bool]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        number = len(self._numbers)
        if number >= self._lag:
            shown = list(self._numbers)[number - self._lag]
            if shown not in self._ended:
                return None  # Tune asks again soon
            super().on_trial_complete(shown, *self._ended[shown])
        self._numbers[trial_id] = number
        suggested = super().suggest(trial_id)
        assert isinstance(suggested, dict), "Optuna has the whole space"
        return {**suggested, "number": number}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tells Optuna nothing, because the state of a running trial depends on timing."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._ended[trial_id] = (result, error)
        number = self._numbers[trial_id]
        if result:
            # Not with a callback of Tune: given one, it imports all its loggers, MLflow too.
            log.info(
                "trial %d of %d: average precision %.4f after %d rounds (%s)",
                number + 1,
                self._count,
                result["best"],
                len(result["curve"]) * ROUNDS_A_STEP,
                result["ended"] or "behind",
            )


class _MedianRule(tune.Stopper):
    """Prunes a trial whose best score so far is below the median of earlier trials at that step.

    The usual median rule (Golovin et al., "Google Vizier: A Service for Black-Box
    Optimization", 2017, section 3.2.1) compares with all completed trials. Here only trials 0 to
    n - `lag` count: they have completed before trial n starts, whatever the timing.
    """

    def __init__(self, lag: int):
        self._lag = lag
        self._curves: dict[int, list[float]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        number, curve = result["config"]["number"], list(result["curve"])
        self._curves[number] = curve
        bests = [
            max(earlier[: len(curve)])
            for other, earlier in self._curves.items()
            if other <= number - self._lag
        ]
        if len(curve) < GRACE_STEPS or len(bests) < ENOUGH_TRIALS:
            return False
        return bool(max(curve) < statistics.median(bests))

    def stop_all(self) -> bool:
        return False
