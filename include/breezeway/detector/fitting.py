"""A whole detector from labelled rows: model, alarm threshold, and cross-fitted evaluation."""

import logging
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector import model
from breezeway.detector.boosting import SEED
from breezeway.detector.clock import LEARNED_CLOCK, BesideClock, beside_clock
from breezeway.detector.families.family import FittedModel
from breezeway.detector.families.registry import BOOSTED_TREES, family_of
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.model import OutOfFold
from breezeway.detector.platt_scaling import PlattScaling, fit_platt_scaling
from breezeway.detector.score_filter import ages_of, filtered
from breezeway.detector.scorecard import Rows, Scorecard, baselines, scorecard
from breezeway.detector.table import Table
from breezeway.detector.thresholds import (
    Choice,
    ThresholdCurve,
    choose_threshold,
    honest_thresholds,
    threshold_curve,
)

log = logging.getLogger("breezeway")


class FittedDetector(Protocol):
    """What a detector is, fitted with labels (`Fitted`) or without (`PresumedDetector`)."""

    @property
    def model(self) -> FittedModel: ...
    @property
    def params(self) -> dict[str, Any]: ...
    @property
    def rounds(self) -> int: ...
    @property
    def scores(self) -> OutOfFold: ...
    @property
    def scaling(self) -> PlattScaling: ...
    @property
    def choice(self) -> Choice: ...
    @property
    def threshold(self) -> float: ...


@dataclass(frozen=True)
class Fitted:
    """A detector, and the scores that its threshold was chosen by.

    Args:
        model: fitted on all rows of the table, and scaled.
        params, rounds: of the model.
        scores: cross-fitted: of each row, by a model that did not see it; scaled and filtered.
        scaling: what makes them probabilities.
        curve: the effect of each candidate threshold on these scores.
        choice: a reading with at least this score is in alarm; and the threshold's interval.
    """

    model: FittedModel
    params: dict[str, Any]
    rounds: int
    scores: OutOfFold
    scaling: PlattScaling
    curve: ThresholdCurve
    choice: Choice

    @property
    def threshold(self) -> float:
        return self.choice.threshold


def fit_detector(
    table: Table,
    contract: Contract,
    params: dict[str, Any],
    rounds: int,
    threads: int,
    family: str = BOOSTED_TREES,
) -> Fitted:
    """Fit a model on all rows, and scale it and choose its threshold on cross-fitted scores.

    Raises:
        DataError: no fold has both classes, the family refuses a parameter, or there is none of
            this name.
    """
    raw = model.out_of_fold(table, contract, params, rounds, threads, family)
    scores, scaling = settled(table.rows, raw, contract)
    scored = scores.fold >= 0
    curve = threshold_curve(table.rows.where(scored), scores.score[scored], contract)
    return Fitted(
        _fit(table, contract, family, params, rounds, scaling, threads),
        params,
        rounds,
        scores,
        scaling,
        curve,
        choose_threshold(curve, contract),
    )


def _fit(
    table: Table,
    contract: Contract,
    family: str,
    params: dict[str, Any],
    rounds: int,
    scaling: PlattScaling,
    threads: int,
) -> FittedModel:
    features = table.features
    raw = family_of(family).fit(
        features, table.rows.label, contract, params, rounds=rounds, threads=threads, seed=SEED
    )
    return raw.finished(scaling, features, threads)


def settled(rows: Rows, scores: OutOfFold, contract: Contract) -> tuple[OutOfFold, PlattScaling]:
    """Return cross-fitted scores as an alarm sees them, scaled and filtered; and the scaling."""
    scored = scores.fold >= 0
    own = rows.where(scored)
    scaling = fit_platt_scaling(own.label, scores.score[scored])
    score = scaling.scores(scores.score)
    score[scored] = filtered(score[scored], ages_of(own.device, own.time, contract), contract.alarm)
    return scores._replace(score=score), scaling


@dataclass(frozen=True)
class Served:
    """The fit that serves: the one that is evaluated, or the same parameters on more rows.

    Args:
        scope: the rows that it was fitted on.
        again: whether it is another fit than the one that is evaluated.
    """

    model: FittedModel
    scope: TrainingScope
    again: bool


def fit_again(whole: Table, contract: Contract, fitted: FittedDetector, threads: int) -> Served:
    """Fit the parameters of a detector once more, on all rows of a dataset.

    Scaling and threshold stay those that were chosen, and evaluated, with the detector.
    """
    family, params, rounds = fitted.model.family, fitted.params, fitted.rounds
    again = _fit(whole, contract, family, params, rounds, fitted.scaling, threads)
    return Served(again, whole.scope, again=True)


@dataclass(frozen=True)
class Judgement:
    """The evaluation of a detector on rows that neither its models nor its threshold saw.

    Args:
        judged: bool, of the table's rows: the rows of the evaluation.
        thresholds: of the table's rows, each chosen without the row; NaN where it is not judged.
        cards: by detector: `model`, the baselines, and the learned clock.
        clock: the detector's ranking beside the learned clock's; None without a positive row.
    """

    judged: np.ndarray
    thresholds: np.ndarray
    cards: dict[str, Scorecard]
    clock: BesideClock | None


def judge_unseen(
    table: Table, contract: Contract, scores: OutOfFold, clock: OutOfFold
) -> Judgement:
    """Evaluate the scores of the folds, each with a threshold that was chosen on other rows.

    With only one fold there are no other rows. Then the threshold is chosen on the rows of the
    evaluation, and the result is too optimistic.

    Args:
        scores: of the detector.
        clock: of the learned clock, by the same folds.
    """
    thresholds, of_clock = (_thresholds(table, each, contract) for each in (scores, clock))
    judged = ~np.isnan(thresholds)
    frame, interval = table.frame(scores.score, judged), contract.interval_seconds
    timed = table.frame(clock.score, judged)
    cards = {
        "model": scorecard(frame, thresholds[judged], interval),
        **baselines(frame, thresholds[judged], interval, SEED),
        LEARNED_CLOCK: scorecard(timed, of_clock[judged], interval),
    }
    return Judgement(judged, thresholds, cards, beside_clock(frame, timed["score"], contract))


def _thresholds(table: Table, scores: OutOfFold, contract: Contract) -> np.ndarray:
    thresholds = honest_thresholds(table.rows, scores, contract)
    if np.isnan(thresholds).all():
        log.warning("one fold only: the threshold was chosen on the rows that it is judged on")
        scored = scores.fold >= 0
        curve = threshold_curve(table.rows.where(scored), scores.score[scored], contract)
        thresholds[scored] = choose_threshold(curve, contract).threshold
    return thresholds
