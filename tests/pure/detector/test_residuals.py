"""Residuals: what remains of a feature when others have explained their part."""

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import model
from breezeway.detector.boosting import xgb
from breezeway.detector.model import DEFAULT_PARAMS
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.onnx_trees import to_onnx
from breezeway.detector.platt_scaling import PlattScaling
from breezeway.detector.residuals import Residuals, fit_residuals
from breezeway.detector.table import Table
from tests.fixtures.plant import plant_contract, rows_from

ASKED = """
[features.residual]
of = ["temperature", "temperature_mean"]
given = ["torque", "strain"]

[label]
"""


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.from_text(plant_contract().text.replace("[label]", ASKED, 1), "plant.toml")


@pytest.fixture
def rows(contract) -> tuple[np.ndarray, np.ndarray]:
    """Features with temperature = 20 + torque / 100 - strain / 500, and which rows are normal."""
    generator = np.random.default_rng(3)
    features = generator.normal(size=(5000, len(contract.feature_names))).astype(np.float32)
    at = contract.feature_names.index
    features[:, at("torque")] = generator.uniform(0, 5000, 5000)
    features[:, at("strain")] = generator.uniform(0, 3000, 5000)
    torque, strain = (features[:, at(name)] for name in ("torque", "strain"))
    features[:, at("temperature")] = 20 + torque / 100 - strain / 500
    faulty = np.arange(5000) % 10 == 0
    features[faulty, at("temperature")] += 7
    return features, ~faulty


def test_what_others_explain_is_gone_and_a_fault_remains(contract, rows):
    features, normal = rows
    found = fit_residuals(features, normal, contract).beside(features)
    assert found.dtype == np.float32
    assert (found[:, : features.shape[1]] == features).all()
    assert found.shape[1] == len(contract.detector_features)
    temperature = found[:, features.shape[1]]
    assert np.abs(temperature[normal]).max() < 0.2
    assert np.abs(temperature[~normal] - 7).max() < 0.2


def test_faults_have_no_say_in_what_is_usual(contract, rows):
    features, normal = rows
    of_all = fit_residuals(features, np.ones_like(normal), contract)
    of_normal = fit_residuals(features, normal, contract)
    assert of_all.intercept[0] - of_normal.intercept[0] == pytest.approx(0.7, abs=0.1)


def test_a_missing_value_is_a_missing_residual_and_is_not_learned_from(contract, rows):
    features, normal = rows
    holes = features.copy()
    holes[3, contract.feature_names.index("torque")] = np.nan
    holes[5, contract.feature_names.index("temperature")] = np.nan
    found = fit_residuals(holes, normal, contract)
    residual = found.beside(holes)[:, -2:]
    assert np.isnan(residual[3]).all()
    assert np.isnan(residual[5]).tolist() == [True, False]
    assert np.isfinite(found.coefficients).all()


def test_without_a_complete_normal_row_the_residual_is_missing(contract, rows, caplog):
    features, normal = rows
    features[:, contract.feature_names.index("temperature_mean")] = np.nan
    found = fit_residuals(features, normal, contract).beside(features)
    assert np.isnan(found[:, -1]).all()
    assert np.isfinite(found[:, -2]).all()
    assert "temperature_mean: no normal row has a value for it" in caplog.text


def test_a_feature_that_never_varies_explains_nothing(contract, rows):
    features, normal = rows
    features[:, contract.feature_names.index("strain")] = 1500
    found = fit_residuals(features, normal, contract)
    assert found.coefficients[1].tolist() == [0, 0]


@pytest.fixture
def booster(contract, rows) -> xgb.Booster:
    features, normal = rows
    table = Table(rows_from(~normal[None, :]), features, None)
    return model.fit(
        table.features, table.rows.label, contract, DEFAULT_PARAMS, rounds=10, threads=1
    )


def test_a_booster_keeps_its_residuals_to_the_bit(contract, rows, booster):
    features, normal = rows
    saved = xgb.Booster(model_file=bytearray(model.model_bytes(booster)))
    found = Residuals.of_booster(saved).beside(features)
    assert found.tobytes() == fit_residuals(features, normal, contract).beside(features).tobytes()
    assert saved.feature_names == contract.detector_features
    scaled = Residuals.of_booster(PlattScaling(0.5, 1).booster(booster, 1))
    assert scaled.beside(features).tobytes() == found.tobytes()


def test_the_graph_makes_the_residuals_and_many_rows_give_the_bits_of_one(rows, booster, contract):
    features, _ = rows
    features[::7, contract.feature_names.index("torque")] = np.nan
    scorer = OnnxScorer(to_onnx(booster))
    assert scorer.feature_names == contract.feature_names
    scores = scorer.score(features)
    beside = Residuals.of_booster(booster).beside(features)
    assert scores == pytest.approx(booster.inplace_predict(beside), abs=1e-6)
    assert booster.get_score(importance_type="weight")["temperature_residual"] > 0
    one_by_one = [scorer.score(features[k : k + 1])[0] for k in range(500)]
    assert scores[:500].tolist() == one_by_one
    for width in (2, 3, 5, 17, 64):
        parts = [scorer.score(features[k : k + width]) for k in range(0, 500, width)]
        assert scores[:500].tolist() == np.concatenate(parts)[:500].tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "[" * 10_000,
        "{}",
        '{"coefficients": 1, "intercept": [], "of": [], "given": []}',
        '{"coefficients": [["a"]], "intercept": [0, 0], "of": [], "given": []}',
        '{"coefficients": [[1]], "intercept": [0], "of": [0], "given": [99]}',
        '{"coefficients": [[1]], "intercept": [0], "of": [-1], "given": [1]}',
        '{"coefficients": [[1]], "intercept": [0], "of": [0], "given": [1e400]}',
        '{"coefficients": [[1, 2]], "intercept": [0], "of": [0], "given": [1]}',
    ],
)
def test_residuals_that_do_not_fit_the_booster_are_refused(booster, wrong):
    booster.set_attr(residuals=wrong)
    with pytest.raises(DataError, match="residuals of a model"):
        Residuals.of_booster(booster)


def test_a_contract_that_asks_for_none_gets_none(rows):
    features, normal = rows
    assert fit_residuals(features, normal, plant_contract()).beside(features) is features
    assert plant_contract().detector_features == plant_contract().feature_names


@pytest.mark.parametrize(
    ("of", "given", "message"),
    [
        ('["temperatur"]', '["torque"]', "residual.of.0: there is no such feature as 'temperatur'"),
        (
            '["temperature"]',
            '["torqe"]',
            "residual.given.0: there is no such feature as 'torqe'; did",
        ),
        ('["torque"]', '["torque"]', "residual.of: 'torque' is among given"),
        ('["strain", "strain"]', '["torque"]', "residual.of.1: 'strain' stands there twice"),
        ("[]", '["torque"]', "residual.of: List should have at least 1 item"),
    ],
)
def test_a_mistake_is_named(of, given, message):
    asked = f"[features.residual]\nof = {of}\ngiven = {given}\n\n[label]"
    with pytest.raises(DataError, match=message.replace("[", r"\[")):
        Contract.from_text(plant_contract().text.replace("[label]", asked, 1), "plant.toml")
