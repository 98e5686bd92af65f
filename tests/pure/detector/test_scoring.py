"""A model's folder is loaded as it was written, or refused; a row scores as in a batch."""

import json
import shutil

import numpy as np
import pytest

from breezeway.core.errors import DataError, InternalError
from breezeway.detector import model, scoring
from breezeway.detector.boosting import xgb
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.onnx_trees import to_onnx
from breezeway.serving import row_scorer
from tests.fixtures.plant import plant_contract


@pytest.fixture(scope="module")
def booster(table):
    params = model.DEFAULT_PARAMS
    return model.fit(
        table.features, table.rows.label, plant_contract(), params, rounds=20, threads=1
    )


@pytest.fixture
def model_folder(tmp_path, table, booster, plant_dataset):
    """What MLflow keeps of a model."""
    extra = tmp_path / "model" / "extra_files"
    extra.mkdir(parents=True)
    (tmp_path / "model" / "model.onnx").write_bytes(to_onnx(booster))
    (extra / "model.ubj").write_bytes(model.model_bytes(booster))
    shutil.copy(plant_dataset / "contract.toml", extra)
    shutil.copy(plant_dataset / "examples.json", extra)
    scope = json.loads(table.scope.to_json())
    decided = {"threshold": 0.7, "model_name": "mill", "data_tag": "v1", "trained_on": scope}
    (extra / "threshold.json").write_text(json.dumps(decided))
    return tmp_path / "model"


def test_scores_as_it_was_fitted(model_folder, table, booster):
    loaded = scoring.load_folder(model_folder, version="3")
    assert (loaded.threshold, loaded.name, loaded.version) == (0.7, "mill", "3")
    assert loaded.data_tag == "v1"
    assert loaded.trained_on == table.scope
    assert loaded.contract == plant_contract()
    expected = booster.predict(
        xgb.DMatrix(table.features[:100], feature_names=loaded.feature_names)
    )
    scores = loaded.score(table.features[:100].astype(float))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


def test_the_fit_that_was_judged_is_kept_beside_the_one_that_serves(model_folder, table, booster):
    params = model.DEFAULT_PARAMS
    judged = model.fit(
        table.features, table.rows.label, plant_contract(), params, rounds=5, threads=1
    )
    extra = model_folder / "extra_files"
    (extra / "judged.ubj").write_bytes(model.model_bytes(judged))
    (extra / "judged.onnx").write_bytes(to_onnx(judged))
    decided = json.loads((extra / "threshold.json").read_text())
    decided["judged_on"] = {"until": "2026-01-01T12:00:00+00:00", "devices": None}
    (extra / "threshold.json").write_text(json.dumps(decided))
    serves = scoring.load_folder(model_folder)
    assert (serves.again, serves.trained_on) == (True, table.scope)
    assert serves.fitted_model.to_bytes() == model.model_bytes(booster)
    loaded = scoring.load_folder(model_folder, judged=True)
    assert loaded.trained_on.until_text == "2026-01-01T12:00:00+00:00"
    assert loaded.fitted_model.to_bytes() == model.model_bytes(judged)
    rows = table.features[:100]
    assert loaded.score(rows).tolist() == OnnxScorer(to_onnx(judged)).score(rows).tolist()
    assert loaded.score(rows).tolist() != serves.score(rows).tolist()


def test_without_another_fit_the_one_that_serves_was_judged(model_folder, table):
    loaded = scoring.load_folder(model_folder, judged=True)
    assert (loaded.again, loaded.trained_on) == (False, table.scope)


def test_a_row_by_itself_scores_to_the_bit_as_in_a_batch(model_folder):
    loaded = scoring.load_folder(model_folder)
    generator = np.random.default_rng(5)
    rows = generator.normal(scale=50, size=(2000, len(loaded.feature_names)))
    rows[generator.random(rows.shape) < 0.1] = np.nan
    rows[generator.random(rows.shape) < 0.01] = 1e300
    score_row = row_scorer.RowScorer(loaded)
    assert [score_row(row) for row in rows] == loaded.score(rows).tolist()


def test_another_number_of_features_is_our_defect(model_folder):
    with pytest.raises(InternalError, match=r"shape \(1, 3\), expected \(rows, 7\)"):
        scoring.load_folder(model_folder).score(np.zeros((1, 3)))


@pytest.mark.parametrize("name", ["contract.toml", "threshold.json", "examples.json"])
def test_a_missing_file_is_named(model_folder, name):
    (model_folder / "extra_files" / name).unlink()
    with pytest.raises(DataError, match=name):
        scoring.load_folder(model_folder)


def test_a_damaged_model_is_refused(model_folder):
    (model_folder / "model.onnx").write_bytes(b"{not a model")
    with pytest.raises(DataError, match="holds no model that loads"):
        scoring.load_folder(model_folder)


def test_a_model_without_a_graph_is_to_be_trained_again(model_folder):
    (model_folder / "model.onnx").unlink()
    with pytest.raises(DataError, match="has to be trained again"):
        scoring.load_folder(model_folder)


def test_a_damaged_booster_is_refused_when_it_is_asked_for(model_folder, table):
    (model_folder / "extra_files" / "model.ubj").write_bytes(b"{not a model")
    loaded = scoring.load_folder(model_folder)
    assert len(loaded.score(table.features[:3])) == 3
    with pytest.raises(DataError, match=r"model\.ubj: XGBoost does not read it"):
        _ = loaded.fitted_model


def test_a_contract_of_other_features_is_refused(model_folder):
    path = model_folder / "extra_files" / "contract.toml"
    path.write_text(path.read_text().replace('"std", "max"', '"std", "min"'))
    with pytest.raises(DataError, match="not those of its contract"):
        scoring.load_folder(model_folder)
