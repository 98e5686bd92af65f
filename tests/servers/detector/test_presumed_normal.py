"""Families that learn what is normal: robust, exact in what they explain, the same in any batch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from breezeway.core.errors import DataError
from breezeway.detector.explanation import Explainer
from breezeway.detector.families import registry
from breezeway.detector.families.normal_model import NormalModel
from breezeway.detector.families.robust_scaling import robust_spread
from breezeway.detector.fitting import fit_detector
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.platt_scaling import PlattScaling
from breezeway.detector.scorecard import average_precision
from breezeway.detector.table import Table, read_table
from breezeway.detector.usual import usual_of
from tests.fixtures.plant import plant_contract

NAMES = [
    "mahalanobis distance",
    "principal components",
    "nearest neighbours",
    "average distance",
]
CONTRACT = plant_contract()
WIDTH = len(CONTRACT.feature_names)
LOADS = np.random.default_rng(7).normal(size=(3, WIDTH))


def normal_rows(seed: int, count: int) -> np.ndarray:
    """Three things that vary, and all features follow them; some values are missing."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, 3)) @ LOADS + 0.2 * generator.normal(size=(count, WIDTH))
    rows[generator.random(rows.shape) < 0.02] = np.nan
    return (50 + 3 * rows).astype(np.float32)


def fit(name: str, rows: np.ndarray, label: np.ndarray | None = None) -> NormalModel:
    family = registry.family_of(name)
    return family.fit(rows, label, CONTRACT, {}, rounds=1, threads=1, seed=0)


@pytest.fixture(scope="module", params=NAMES)
def model(request) -> NormalModel:
    return fit(request.param, normal_rows(0, 600))


def test_a_row_has_the_same_bits_by_itself_and_among_others(model):
    scorer, rows = OnnxScorer(model.to_onnx()), normal_rows(1, 300) * np.float32(1.1)
    rows[::40, 3], rows[::50, 4] = np.inf, -np.inf
    whole = scorer.score(rows)
    for size in (1, 7, 64):
        parts = [scorer.score(rows[start : start + size]) for start in range(0, 300, size)]
        assert np.concatenate(parts).tolist() == whole.tolist()
    assert ((whole > 0) & (whole < 1)).all()


def test_contributions_add_up_to_the_score_after_scaling_too(model):
    rows = normal_rows(2, 200) * np.float32(1.05)
    rows[::9, 2] = np.nan
    for each in (model, model.finished(PlattScaling(1.7, -0.4), rows, 1)):
        odds = each.parts(rows).sum(axis=1)
        own = OnnxScorer(each.to_onnx()).score(rows)
        np.testing.assert_allclose(1 / (1 + np.exp(-odds)), own, rtol=0, atol=1e-6)


def test_the_feature_that_is_off_is_the_first_reason(model):
    rows = np.nan_to_num(normal_rows(3, 20), nan=50)
    rows[:, 5] += 60
    first = model.parts(rows)[:, :-1].argmax(axis=1)
    assert (first == 5).all()


def test_what_is_far_scores_higher_than_what_is_normal(model):
    scorer = OnnxScorer(model.to_onnx())
    normal, far = normal_rows(4, 500), normal_rows(5, 500)
    far[:, 1:3] += 30
    assert (scorer.score(normal) > 0.55).mean() < 0.1
    assert (scorer.score(far) > 0.55).mean() > 0.99


def test_it_saves_and_loads_to_the_bit(model):
    loaded = registry.family_of(model.family).load(model.to_bytes())
    assert (loaded.to_bytes(), loaded.to_onnx()) == (model.to_bytes(), model.to_onnx())
    assert loaded.importance() == model.importance()
    assert sum(model.importance().values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "change",
    [
        {"middle": [1.0]},
        {"members": []},
        {"slope": "much"},
        {"weight": [float("nan")] * WIDTH},
        {"other": 1},
        {"members": [{"usual": 0.0, "limit": 1.0, "center": [0.0], "root": [[1.0]]}]},
        {"members": [{"usual": 0.0, "limit": 1.0, "references": [[0.0]], "nearest": 1}]},
        {"members": [{"usual": 0.0, "limit": 1.0, "references": [[0.0] * WIDTH], "nearest": 2}]},
        {"members": [{"usual": 0.0, "limit": 1.0, "references": [[0.0], [0.0, 1.0]]}]},
    ],
)
def test_a_damaged_model_is_an_error_with_a_reason(model, change):
    damaged = json.dumps({**json.loads(model.to_bytes()), **change}).encode()
    with pytest.raises(DataError, match="a model of normal operation: "):
        NormalModel.load(model.family, damaged)
    with pytest.raises(DataError, match="a model of normal operation: "):
        NormalModel.load(model.family, model.to_bytes()[:-9])


@pytest.mark.parametrize("name", NAMES)
def test_faults_among_what_is_presumed_normal_stay_far(name):
    """One row in twenty is a fault, all of one kind."""
    rows = np.nan_to_num(normal_rows(6, 800), nan=50)
    fault = np.arange(len(rows)) >= 760
    rows[fault, 3] += 45
    score = OnnxScorer(fit(name, rows).to_onnx()).score(rows)
    assert score[fault].min() > np.quantile(score[~fault], 0.99)


def test_far_rows_do_not_widen_a_covariance():
    values = np.random.default_rng(0).normal(size=(1000, 4))
    clean = robust_spread(values)
    values[::20] += 50
    spread = robust_spread(values)
    assert np.abs(spread.center).max() < 0.2
    np.testing.assert_allclose(spread.covariance, clean.covariance, atol=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_are_there_are_heeded(name):
    rows = normal_rows(8, 600)
    label = np.arange(600) % 3 == 0
    rows[label, 2] += 25
    assert fit(name, rows, label).to_bytes() == fit(name, rows[~label]).to_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_that_never_varied_or_never_came_has_no_say(name):
    rows = normal_rows(9, 300)
    rows[:, 0], rows[:, 1] = 7, np.nan
    model = fit(name, rows)
    others = normal_rows(10, 50)
    changed = others.copy()
    changed[:, 0], changed[:, 1] = 1e9, np.inf
    scorer = OnnxScorer(model.to_onnx())
    assert scorer.score(changed).tolist() == scorer.score(others).tolist()


def test_what_is_missing_stands_for_the_median():
    rows = normal_rows(11, 301)
    rows = np.nan_to_num(rows, nan=50)
    model = fit("average distance", rows)
    told, missing = rows[:40].copy(), rows[:40].copy()
    told[:, 4], missing[:, 4] = np.median(rows[:, 4]), np.nan
    scorer = OnnxScorer(model.to_onnx())
    assert scorer.score(missing).tolist() == scorer.score(told).tolist()


def test_too_few_rows_and_unknown_parameters_are_refused():
    family = registry.family_of(NAMES[0])
    with pytest.raises(DataError, match="19 rows are presumed normal, and at least 20"):
        fit(NAMES[0], normal_rows(12, 19))
    with pytest.raises(DataError, match="no parameter 'depth'"):
        family.fit(normal_rows(12, 50), None, CONTRACT, {"depth": 3}, rounds=1, threads=1, seed=0)


def test_a_search_over_all_families_tries_those_that_learn_from_labels():
    detector = CONTRACT.detector.model_copy(update={"families": "auto"})
    names = registry.families_of(CONTRACT.model_copy(update={"detector": detector}))
    assert registry.BOOSTED_TREES in names
    assert not set(NAMES) & set(names)


@pytest.fixture(scope="module")
def table(plant_dataset) -> Table:
    return read_table(plant_dataset, CONTRACT)


def test_a_detector_with_labels_can_be_of_such_a_family(table):
    """It learns from what is labelled normal; labels scale its scores and choose its threshold."""
    fitted = fit_detector(table, CONTRACT, {}, 1, 1, "average distance")
    label = table.rows.label
    score = OnnxScorer(fitted.model.to_onnx()).score(table.features)
    assert average_precision(label, score) > 3 * label.mean()
    assert 0 < fitted.choice.low <= fitted.threshold <= fitted.choice.high < 1
    explainer = Explainer(fitted.model, CONTRACT, usual_of(table, CONTRACT, fitted.model.residuals))
    worst = table.features[score.argmax()]
    shares = [reason.share for reason in explainer.reasons(worst)]
    assert shares and shares == sorted(shares, reverse=True)


def test_to_explain_needs_no_library_of_those_that_fit():
    code = (
        "import sys; from breezeway.detector.families.registry import family_of;"
        f"family_of({NAMES[3]!r});"
        "assert not {'onnx', 'sklearn', 'xgboost'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
