"""Fit a detector, score rows by models that did not see them, save and load it.

The detector is an XGBoost model. It is saved in XGBoost's own format (UBJSON), and as the ONNX
graph that scores. Pickle is never used.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.boosting import COARSE_BINS, bins_for, booster_params, matrix, xgb
from breezeway.detector.folds import split
from breezeway.detector.residuals import Residuals, fit_residuals
from breezeway.detector.table import Table

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
    table: Table,
    rows: np.ndarray | slice,
    contract: Contract,
    params: dict[str, Any],
    *,
    rounds: int,
    threads: int,
) -> xgb.Booster:
    """Fit a booster; the same arguments give the same `model_bytes`.

    Raises:
        DataError: XGBoost refuses a parameter.
    """
    features, label = table.features[rows], table.rows.label[rows]
    bins = params.get("max_bin", COARSE_BINS)
    residuals = fit_residuals(features, ~label, contract)
    data = matrix(residuals.beside(features), label, contract.detector_features, threads, bins)
    try:
        booster = xgb.train(
            booster_params(params, contract.train.monotone, label, threads),
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
    """float64 (folds, 2, steps): learning curves, the average precision after each `GROWTH_ROUNDS`
    boosting rounds; of the rows to fit on, and of the rows to score."""


def out_of_fold(
    table: Table, contract: Contract, params: dict[str, Any], rounds: int, threads: int
) -> OutOfFold:
    """Score the rows of each fold with a model fitted without them."""
    # The search and the learned clock, which import this module, do without them.
    from breezeway.detector.onnx_scorer import OnnxScorer
    from breezeway.detector.onnx_trees import to_onnx

    score = np.full(len(table.features), np.nan)
    fold_of = np.full(len(table.features), -1)
    growth = []
    for number, fold in enumerate(split(table.rows, contract)):
        booster = fit(table, fold.fit, contract, params, rounds=rounds, threads=threads)
        score[fold.scored] = OnnxScorer(to_onnx(booster)).score(table.features[fold.scored])
        fold_of[fold.scored] = number
        growth.append([_growth(booster, table, rows) for rows in (fold.fit, fold.scored)])
    return OutOfFold(score, fold_of, np.array(growth))


def _growth(booster: xgb.Booster, table: Table, rows: np.ndarray) -> list[float]:
    """Average precision on some rows with more and more trees."""
    features = Residuals.of_booster(booster).beside(table.features[rows])
    label = table.rows.label[rows]
    rounds = booster.num_boosted_rounds()
    margin = np.zeros(len(label))
    values = []
    for start in range(0, rounds, GROWTH_ROUNDS):
        # The base score is added each time, but that does not change the order of the rows.
        trees = (start, min(start + GROWTH_ROUNDS, rounds))
        margin += booster.inplace_predict(features, iteration_range=trees, predict_type="margin")
        values.append(scorecard.average_precision(label, margin) or 0.0)
    return values
