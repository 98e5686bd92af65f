"""Runs the trials of a search for parameters on a Ray cluster, by Ray Tune."""

import os
from typing import Any

from breezeway.core.ray_session import ray, ray_session  # before others import Ray

# Tune reads this when it is imported.
os.environ.update(
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",  # write no files that nobody reads
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    RAY_CHDIR_TO_TRIAL_DIR="0",
    RAY_AIR_NEW_OUTPUT="0",
)

import numpy as np
from ray import tune
from ray.tune.search import Searcher

from breezeway.contract.contract import Contract
from breezeway.core.errors import InternalError, ServiceUnavailable
from breezeway.detector.ray_trials import RayTrial
from breezeway.detector.search import Study, Suggestion
from breezeway.detector.table import Table


def try_on_ray(
    study: Study,
    table: Table,
    contract: Contract,
    folds: list[tuple[np.ndarray, np.ndarray]],
    threads: int,
) -> None:
    """Return when all trials of a study have ended.

    Args:
        study: suggests the trials, and gets their results.
        table: the rows.
        contract: of the sensor.
        folds: for each the row numbers to fit on and to score.
        threads: for `ray_session`.

    Raises:
        ServiceUnavailable: Ray doesn't answer, or a worker died.
    """
    with ray_session(threads) as folder:
        tuner = tune.Tuner(
            tune.with_parameters(
                RayTrial,
                features=table.features,
                label=table.rows.label,
                folds=folds,
                contract=contract.text,
            ),
            tune_config=tune.TuneConfig(
                metric="best",
                mode="max",
                num_samples=study.count,
                search_alg=_Suggestions(study),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder),
                stop=_Pruning(study),
                failure_config=tune.FailureConfig(fail_fast=True),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        for error in tuner.fit().errors:
            if isinstance(error, ray.exceptions.RayError) and not isinstance(
                error, ray.exceptions.RayTaskError
            ):
                raise ServiceUnavailable(f"A worker of Ray died: {error}")
            raise InternalError(f"A trial failed: {error}")


class _Suggestions(Searcher):
    """Hands the suggestions of a study to Tune, and the results of Tune to the study.

    Not a callback of Tune for the latter: given one, it imports all its loggers, MLflow too.
    """

    def __init__(self, study: Study):
        super().__init__(metric="best", mode="max")
        self._study = study
        self._suggested: dict[str, Suggestion] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        suggested = self._study.suggest()
        if suggested is None:
            return None  # Tune asks again soon
        self._suggested[trial_id] = suggested
        return suggested._asdict()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if result:
            ended = result["ended"] or "behind"
            curve, seconds = list(result["curve"]), result["cpu_seconds"]
            self._study.end(self._suggested[trial_id].ended(curve, ended, seconds))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search that was killed begins anew."""


class _Pruning(tune.Stopper):
    def __init__(self, study: Study):
        self._study = study

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._study.is_behind(result["config"]["number"], result["curve"])

    def stop_all(self) -> bool:
        return False
