"""One row through XGBoost's C API, as an upgrade of XGBoost must leave it."""

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.detector.boosting import xgb
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.scoring import ScoringModel
from breezeway.serving.row_scorer import RowScorer
from tests.fixtures.plant import CONTRACT


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.from_text(CONTRACT.format(by="time"), "sensors.toml")


def model_of(contract: Contract, features: int) -> ScoringModel:
    """A model whose booster has learned that many features."""
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(500, features))
    learned = xgb.DMatrix(rows, rows.sum(axis=1) > 0)
    booster = xgb.train({"objective": "binary:logistic", "nthread": 1}, learned, 50)
    return ScoringModel(booster, contract, 0.5, [], TrainingScope(0))


def test_500_rows_score_to_the_bit_as_in_a_batch(contract):
    model = model_of(contract, len(contract.feature_names))
    generator = np.random.default_rng(7)
    rows = generator.normal(scale=2, size=(500, len(contract.feature_names)))
    rows[generator.random(rows.shape) < 0.1] = np.nan
    rows[generator.random(rows.shape) < 0.01] = 1e300
    score_row = RowScorer(model)
    assert [score_row(row) for row in rows] == model.score(rows).tolist()


def test_what_the_library_refuses_is_raised_in_its_words(contract):
    score_row = RowScorer(model_of(contract, features=3))
    with pytest.raises(xgb.core.XGBoostError, match="feature"):
        score_row(np.zeros(len(contract.feature_names)))
