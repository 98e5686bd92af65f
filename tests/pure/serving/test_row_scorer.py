"""One row through buffers that a session is bound to: as in a batch, and after other rows."""

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.detector.boosting import xgb
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.onnx_trees import to_onnx
from breezeway.detector.scoring import ScoringModel
from breezeway.serving.row_scorer import RowScorer
from tests.fixtures.plant import CONTRACT


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.from_text(CONTRACT.format(by="time"), "sensors.toml")


def model_of(contract: Contract) -> ScoringModel:
    """A model of a booster of 50 trees."""
    generator = np.random.default_rng(5)
    names = contract.feature_names
    rows = generator.normal(size=(500, len(names)))
    learned = xgb.DMatrix(rows, rows.sum(axis=1) > 0, feature_names=names)
    booster = xgb.train({"objective": "binary:logistic", "nthread": 1}, learned, 50)
    return ScoringModel(OnnxScorer(to_onnx(booster)), contract, 0.5, [], TrainingScope(0))


def test_500_rows_score_to_the_bit_as_in_a_batch(contract):
    model = model_of(contract)
    generator = np.random.default_rng(7)
    rows = generator.normal(scale=2, size=(500, len(contract.feature_names)))
    rows[generator.random(rows.shape) < 0.1] = np.nan
    rows[generator.random(rows.shape) < 0.01] = 1e300
    score_row = RowScorer(model)
    assert [score_row(row) for row in rows] == model.score(rows).tolist()


def test_a_later_row_leaves_nothing_of_an_earlier_one(contract):
    model = model_of(contract)
    score_row = RowScorer(model)
    missing = np.full(len(contract.feature_names), np.nan)
    first = score_row(missing)
    assert score_row(np.full(len(missing), -2.0)) != first
    assert score_row(missing) == first
