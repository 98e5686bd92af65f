"""Models that learn something and repeat."""

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import boosting, model, scorecard
from breezeway.detector.boosting import xgb
from tests.fixtures.plant import plant_contract

ROUNDS = 20
CONTRACT = plant_contract()


def test_out_of_fold_scores_learn_something(table, scores):
    known = scores.fold >= 0
    reached = scorecard.average_precision(table.rows.label[known], scores.score[known])
    assert 0.5 < reached < 0.999


def test_same_bytes_every_time_whatever_the_threads(table):
    arguments = (table.features, table.rows.label, CONTRACT, model.DEFAULT_PARAMS)
    first, again, threaded = (
        model.model_bytes(model.fit(*arguments, rounds=ROUNDS, threads=threads))
        for threads in (1, 1, 2)
    )
    assert first == again == threaded


def test_a_parameter_that_xgboost_refuses_is_named(table):
    with pytest.raises(DataError, match=r"XGBoost refuses .*max_depth"):
        model.fit(
            table.features, table.rows.label, CONTRACT, {"max_depth": "x"}, rounds=1, threads=1
        )


def test_the_score_of_a_monotone_feature_goes_one_way_only(table):
    text = CONTRACT.text + '[train.monotone]\ntemperature = "increasing"\ntorque = "decreasing"\n'
    torque = CONTRACT.feature_names.index("torque")
    steps = np.tile(table.features[:50, None], (1, 40, 1))
    steps[:, :, torque] = np.linspace(20, 60, 40)

    def steepest(contract: Contract) -> float:
        booster = model.fit(
            table.features, table.rows.label, contract, model.DEFAULT_PARAMS, rounds=10, threads=1
        )
        score = booster.inplace_predict(steps.reshape(-1, steps.shape[2])).reshape(50, 40)
        return np.diff(score, axis=1).max()

    assert steepest(Contract.from_text(text, "monotone.toml")) <= 0 < steepest(CONTRACT)


def test_parameters_of_an_older_search_give_the_model_that_they_gave(table):
    """They know neither bins nor the weight of a positive row."""
    old = {"max_depth": 4, "learning_rate": 0.2, "min_child_weight": 5, "subsample": 0.8}
    label = table.rows.label
    data = xgb.QuantileDMatrix(table.features, label=label, feature_names=CONTRACT.feature_names)
    fixed = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "scale_pos_weight": (~label).sum() / label.sum(),
        "seed": 20260101,
    }
    before = xgb.train({**fixed, **old}, data, ROUNDS)
    now = model.fit(table.features, table.rows.label, CONTRACT, old, rounds=ROUNDS, threads=1)
    assert model.model_bytes(now) == model.model_bytes(before)


def test_few_rows_get_fine_bins_and_find_a_limit_between_coarse_ones():
    assert model.default_params(12_000)["max_bin"] == 4096
    assert model.default_params(12_001)["max_bin"] == 256
    value = np.linspace(0, 1, 10_000, dtype=np.float32)[:, None]
    label = value[:, 0] > 0.9985
    wrong = {}
    for bins in (256, 4096):
        params = {**model.default_params(len(value)), "max_bin": bins}
        learned = boosting.matrix(value, label, ["value"], 1, bins)
        booster = xgb.train(boosting.booster_params(params, {}, label, 1), learned, ROUNDS)
        wrong[bins] = int(((booster.inplace_predict(value) > 0.5) != label).sum())
    assert wrong[4096] < 3 < wrong[256]


def test_without_a_class_weight_scores_are_near_probabilities(table, scores):
    known = scores.fold >= 0
    share = table.rows.label[known].mean()
    assert abs(scores.score[known].mean() - share) < 0.3 * share
