"""Fit a booster, and score rows by detectors that did not see them.

A booster is saved in XGBoost's own format (UBJSON), and as the ONNX graph that scores. Pickle is
never used.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.boosting import COARSE_BINS, SEED, bins_for, booster_params, matrix, xgb
from breezeway.detector.families.registry import BOOSTED_TREES, family_of
from breezeway.detector.folds import split
from breezeway.detector.residuals import fit_residuals
from breezeway.detector.table import Table
from breezeway.detector.unknown_devices import beside_unknown_devices

DEFAULT_PARAMS: dict[str, float] = {
    "max_depth": 5,
    "learning_rate": 0.1,
    "min_child_weight": 1,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "reg_lambda": 1.0,
    "gamma": 0.0,
    "scale_pos_weight": 1.0,
}
"""XGBoost's parameters if none were tuned, without those that depend on the rows."""
DEFAULT_ROUNDS = 100

GROWTH_ROUNDS = 10
"""Boosting rounds between two points of a learning curve."""


def default_params(rows: int) -> dict[str, float]:
    """XGBoost's parameters if none were tuned, for a table of so many rows."""
    return {**DEFAULT_PARAMS, "max_bin": bins_for(rows)}


def fit(
    features: np.ndarray,
    label: np.ndarray,
    contract: Contract,
    params: dict[str, Any],
    *,
    rounds: int,
    threads: int,
    seed: int = SEED,
) -> xgb.Booster:
    """Fit a booster; the same arguments give the same `model_bytes`.

    Args:
        features: float32 (rows, features); NaN is missing.
        label: bool (rows,).

    Raises:
        DataError: XGBoost refuses a parameter.
    """
    bins = params.get("max_bin", COARSE_BINS)
    residuals = fit_residuals(features, ~label, contract)
    features, label = beside_unknown_devices(features, label, contract)
    data = matrix(residuals.beside(features), label, contract.detector_features, threads, bins)
    try:
        booster = xgb.train(
            booster_params(params, contract.train.monotone, label, threads, seed),
            data,
            num_boost_round=rounds,
        )
    except xgb.core.XGBoostError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"XGBoost refuses the parameters {json.dumps(params)}: {reason}") from None
    residuals.keep_in(booster)
    return booster


def model_bytes(booster: xgb.Booster) -> bytes:
    """Return the model in XGBoost's own format (UBJSON)."""
    return bytes(booster.save_raw("ubj"))


class OutOfFold(NamedTuple):
    """Cross-fitted scores: each row is scored by a model that did not see it."""

    score: np.ndarray
    """float64 (rows,): probability; NaN if no fold scored the row."""
    fold: np.ndarray
    """int (rows,): which fold scored it; -1 for none."""
    growth: np.ndarray
    """float64 (folds, 2, stages): learning curves, the average precision after each `GROWTH_ROUNDS`
    rounds, or of the whole model alone; of the rows to fit on, and of the rows to score."""


def out_of_fold(
    table: Table,
    contract: Contract,
    params: dict[str, Any],
    rounds: int,
    threads: int,
    family: str = BOOSTED_TREES,
) -> OutOfFold:
    """Score the rows of each fold with a model fitted without them."""
    # The search and the learned clock, which import this module, do without it.
    from breezeway.detector.onnx_scorer import OnnxScorer

    score = np.full(len(table.features), np.nan)
    fold_of = np.full(len(table.features), -1)
    growth, label = [], table.rows.label
    for number, fold in enumerate(split(table.rows, contract)):
        model = family_of(family).fit(
            table.features[fold.fit],
            label[fold.fit],
            contract,
            params,
            rounds=rounds,
            threads=threads,
            seed=SEED,
        )
        score[fold.scored] = OnnxScorer(model.to_onnx()).score(table.features[fold.scored])
        fold_of[fold.scored] = number
        growth.append(
            [
                [
                    scorecard.average_precision(label[rows], stage) or 0.0
                    for stage in model.stages(table.features[rows])
                ]
                for rows in (fold.fit, fold.scored)
            ]
        )
    return OutOfFold(score, fold_of, np.array(growth))
