"""Models that learn something and repeat."""

import pytest

from breezeway.core.errors import DataError
from breezeway.detector import model, scorecard
from tests.fixtures.plant import plant_contract

ROUNDS = 20
CONTRACT = plant_contract()


def test_out_of_fold_scores_learn_something(table, scores):
    known = scores.fold >= 0
    reached = scorecard.average_precision(table.rows.label[known], scores.score[known])
    assert 0.5 < reached < 0.999


def test_same_bytes_every_time_whatever_the_threads(table):
    arguments = (table, slice(None), CONTRACT, model.DEFAULT_PARAMS)
    first, again, threaded = (
        model.model_bytes(model.fit(*arguments, rounds=ROUNDS, threads=threads))
        for threads in (1, 1, 2)
    )
    assert first == again == threaded


def test_a_parameter_that_xgboost_refuses_is_named(table):
    with pytest.raises(DataError, match=r"XGBoost refuses .*max_depth"):
        model.fit(table, slice(None), CONTRACT, {"max_depth": "x"}, rounds=1, threads=1)
