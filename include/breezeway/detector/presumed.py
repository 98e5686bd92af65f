"""A detector without labels: fitted on what is presumed normal, with a promised rate of episodes.

A plant that begins has no labels. All its readings are presumed normal, but for stretches that an
operator or a maintenance window names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector.boosting import SEED
from breezeway.detector.families.family import FittedModel
from breezeway.detector.families.registry import family_of
from breezeway.detector.folds import Fold
from breezeway.detector.model import OutOfFold
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.platt_scaling import PlattScaling
from breezeway.detector.promised_rate import Promise, promised_threshold
from breezeway.detector.score_filter import ages_of, filtered
from breezeway.detector.scorecard import Rows
from breezeway.detector.thresholds import Choice


class Stretch(NamedTuple):
    """A time of a device that is not presumed normal.

    Args:
        device: its name; None for all devices.
        start, end: microseconds since 1970, UTC; the end is not included.
    """

    device: str | None
    start: int
    end: int


@dataclass(frozen=True)
class PresumedDetector:
    """A detector without labels.

    Args:
        model: fitted on all rows that are presumed normal.
        params, rounds: of the model.
        learned: bool, of the rows: those that it was fitted on.
        scores: of these rows, each by a model that did not see it or its neighbours; filtered.
        promise: the threshold, and the rate of false episodes that it promises.
    """

    model: FittedModel
    params: dict[str, Any]
    rounds: int
    learned: np.ndarray
    scores: OutOfFold
    promise: Promise

    @property
    def scaling(self) -> PlattScaling:
        """There is nothing to scale by: a distance is no probability until there are labels."""
        return PlattScaling()

    @property
    def choice(self) -> Choice:
        return self.promise.choice

    @property
    def threshold(self) -> float:
        return self.choice.threshold


def presumed_normal(rows: Rows, stretches: Sequence[Stretch] = ()) -> np.ndarray:
    """Return bool (rows,): those that no named stretch holds.

    Args:
        rows: their labels are not looked at.
    """
    normal = np.ones(len(rows.time), dtype=bool)
    for device, start, end in stretches:
        inside = (rows.time >= start) & (rows.time < end)
        if device is not None:
            inside &= rows.names[rows.device] == device
        normal &= ~inside
    return normal


def fit_presumed(
    features: np.ndarray,
    rows: Rows,
    contract: Contract,
    family: str,
    *,
    stretches: Sequence[Stretch] = (),
    threads: int,
) -> PresumedDetector:
    """Fit a detector without labels, and choose its threshold on held-out stretches.

    Args:
        features: float32 (rows, features).
        rows: in the order (device, time); their labels are not looked at.
        family: one that needs no labels.
        stretches: not learned from, nor calibrated on.

    Raises:
        DataError: the family needs labels, or there are too few rows.
    """
    learned = presumed_normal(rows, stretches)
    own, known = rows.where(learned), features[learned]
    scores = held_out_scores(known, own, contract, family, threads)
    promise = promised_threshold(own, scores.score, contract)
    model = _fit(known, contract, family, threads)
    finished = model.finished(PlattScaling(), known, threads)
    kind = family_of(family)
    params = kind.defaults(len(known))
    return PresumedDetector(finished, params, kind.default_rounds, learned, scores, promise)


def held_out_scores(
    features: np.ndarray, rows: Rows, contract: Contract, family: str, threads: int
) -> OutOfFold:
    """Score rows that are presumed normal, each by a model that did not see it or its neighbours.

    Args:
        features: float32 (rows, features).
        rows: in the order (device, time); their labels are not looked at.

    Returns:
        Filtered scores, without learning curves.

    Raises:
        DataError: the family needs labels, or there are too few rows.
    """
    score, fold_of = np.full(len(features), np.nan), np.full(len(features), -1)
    for number, fold in enumerate(normal_folds(rows, contract)):
        model = _fit(features[fold.fit], contract, family, threads)
        score[fold.scored] = OnnxScorer(model.to_onnx()).score(features[fold.scored])
        fold_of[fold.scored] = number
    score = filtered(score, ages_of(rows.device, rows.time, contract), contract.alarm)
    return OutOfFold(score, fold_of, np.empty((0, 2, 0)))


def _fit(features: np.ndarray, contract: Contract, family: str, threads: int) -> FittedModel:
    kind = family_of(family)
    if kind.needs_labels:
        raise DataError(f"detector family {family!r}: it learns from labels, and there are none.")
    params = kind.defaults(len(features))
    return kind.fit(
        features,
        None,
        contract,
        params,
        rounds=kind.default_rounds,
        threads=threads,
        seed=SEED,
    )


def normal_folds(rows: Rows, contract: Contract) -> list[Fold]:
    """Cut rows into stretches that are held out in turn.

    By device if the contract splits so and there are as many devices as folds, else by time: of
    all devices the same period is held out, and rows within a feature window of it, which share
    readings with it, are left out of the fit.

    Raises:
        DataError: there are fewer rows than folds.
    """
    folds = contract.split.folds
    if len(rows.time) < folds:
        raise DataError(f"split.folds: {len(rows.time)} rows cannot be cut into {folds} folds.")
    present = np.unique(rows.device)
    if contract.split.by == "device" and len(present) >= folds:
        place = np.searchsorted(present, rows.device) % folds
        return [Fold(np.flatnonzero(place != k), np.flatnonzero(place == k)) for k in range(folds)]
    window = int(contract.window * contract.interval_seconds * 1_000_000)
    cuts = np.sort(rows.time)[np.arange(1, folds) * len(rows.time) // folds]
    period = np.searchsorted(cuts, rows.time, side="right")
    found = []
    for number in range(folds):
        held = period == number
        if not held.any():  # many rows are of the same moment
            continue
        first, last = rows.time[held].min(), rows.time[held].max()
        near = (rows.time > first - window) & (rows.time < last + window)
        found.append(Fold(np.flatnonzero(~near), np.flatnonzero(held)))
    return found
