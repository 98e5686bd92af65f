"""Scores as probabilities: those of the booster itself, and no order turned around."""

import numpy as np
import pytest

from breezeway.detector import model
from breezeway.detector.fitting import fit_again, fit_detector
from breezeway.detector.platt_scaling import PlattScaling, fit_platt_scaling
from tests.fixtures.plant import plant_contract


def drawn(slope: float, intercept: float, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels whose log odds are those of a score, scaled."""
    generator = np.random.default_rng(5)
    odds = generator.normal(-1, 2, rows)
    probability = 1 / (1 + np.exp(-(slope * odds + intercept)))
    return generator.random(rows) < probability, 1 / (1 + np.exp(-odds))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -2.0), (2.5, 1.0)])
def test_the_scaling_that_made_the_labels_is_found(slope, intercept):
    scaling = fit_platt_scaling(*drawn(slope, intercept))
    assert scaling.slope == pytest.approx(slope, abs=0.1 * slope)
    assert scaling.intercept == pytest.approx(intercept, abs=0.1)


def test_a_score_against_the_labels_keeps_its_order():
    label, score = drawn(-1.0, 0.0)
    scaling = fit_platt_scaling(label, score)
    assert scaling.slope == 1
    assert scaling.scores(score).mean() == pytest.approx(label.mean(), abs=0.01)


def test_a_score_that_separates_wholly_gets_no_endless_slope():
    label = np.arange(1000) >= 900
    scaling = fit_platt_scaling(label, np.where(label, 0.9, 0.1))
    scores = scaling.scores(np.array([0.1, 0.9]))
    assert scores[0] == pytest.approx(1 / 902, rel=0.01)
    assert scores[1] == pytest.approx(101 / 102, rel=0.01)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_one_score_for_all_is_the_share_of_the_positives(score):
    label = np.arange(1000) < 100
    scaled = fit_platt_scaling(label, np.full(1000, score)).scores(np.array([score]))
    assert scaled[0] == pytest.approx(0.1, abs=0.01)


def test_the_booster_itself_gives_the_scaled_scores(table):
    contract = plant_contract()
    raw = model.fit(
        table.features, table.rows.label, contract, model.DEFAULT_PARAMS, rounds=5, threads=1
    )
    scaling = PlattScaling(0.5, -1.5)
    scaled = scaling.booster(raw, threads=1)
    np.testing.assert_allclose(
        scaled.inplace_predict(table.features),
        scaling.scores(raw.inplace_predict(table.features)),
        atol=2e-6,
    )
    assert model.model_bytes(scaled) == model.model_bytes(scaling.booster(raw, threads=1))


def test_a_fitted_detector_and_its_second_fit_are_scaled_alike(table):
    contract = plant_contract()
    fitted = fit_detector(table, contract, model.DEFAULT_PARAMS, 5, threads=1)
    known = fitted.scores.fold >= 0
    label, score = table.rows.label[known], fitted.scores.score[known]
    assert fitted.scaling != PlattScaling()
    assert score.mean() == pytest.approx(label.mean(), abs=0.01)
    served = fit_again(table, contract, fitted, threads=1)
    assert served.model.to_bytes() == fitted.model.to_bytes()
