"""What every family of detectors has to hold to. A new family is checked by its name alone."""

import json
import os
import pickle
import pickletools
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from breezeway.core.errors import DataError
from breezeway.detector.families.family import Family, FittedModel
from breezeway.detector.families.registry import FAMILIES, family_of
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.platt_scaling import PlattScaling
from tests.fixtures import ROOT
from tests.fixtures.plant import plant_contract

CONTRACT = plant_contract()
NAMES = CONTRACT.feature_names
CONSTANT, EMPTY = 2, 5
"""The places of a feature that is always the same, and of one that is always missing."""
ROWS, ROUNDS = 700, 12
SCALING = PlattScaling(1.4, -0.6)


def rows_of(seed: int, count: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rows = generator.normal(20, 5, (count, len(NAMES))).astype(np.float32)
    rows[generator.random(rows.shape) < 0.1] = np.nan
    rows[:, CONSTANT], rows[:, EMPTY] = 7, np.nan
    return rows


def odd_rows(count: int) -> np.ndarray:
    """What a broken sensor may give, in every place; even where all was constant or missing."""
    rows = np.random.default_rng(3).normal(20, 50, (count, len(NAMES)))
    values = (np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, 1e-320)
    for row, (column, value) in zip(rows, product(range(len(NAMES)), values), strict=False):
        row[column] = value
    rows[-1] = np.nan
    return rows


LEARNED = rows_of(0, ROWS)
LABEL = np.nan_to_num(LEARNED[:, 0], nan=20) + np.nan_to_num(LEARNED[:, 1], nan=20) > 46


@pytest.fixture(scope="module", params=FAMILIES)
def family(request) -> Family:
    return family_of(request.param)


def fitted(family: Family, threads: int = 1) -> FittedModel:
    params, rounds = family.defaults(ROWS), min(ROUNDS, family.default_rounds)
    model = family.fit(LEARNED, LABEL, CONTRACT, params, rounds=rounds, threads=threads, seed=5)
    return model.finished(SCALING, LEARNED, threads)


@pytest.fixture(scope="module")
def model(family) -> FittedModel:
    return fitted(family)


@pytest.fixture(scope="module")
def scorer(model) -> OnnxScorer:
    return OnnxScorer(model.to_onnx())


def test_it_is_found_by_its_name(family, model):
    assert family_of(family.name) is family
    assert model.family == family.name


def test_it_learns_and_scores_are_probabilities(family, scorer):
    if not family.needs_labels:
        pytest.skip("what it learns, tests/servers/detector/test_presumed_normal.py checks")
    rows = rows_of(1, 500)
    label = np.nan_to_num(rows[:, 0], nan=20) + np.nan_to_num(rows[:, 1], nan=20) > 46
    score = scorer.score(rows)
    assert scorer.feature_names == NAMES
    assert ((score >= 0) & (score <= 1)).all()
    assert score[label].mean() > score[~label].mean() + 0.3


def test_the_same_rows_give_the_same_bytes_whatever_the_threads(family, model):
    again = fitted(family, threads=2)
    assert again.to_bytes() == model.to_bytes()
    assert again.to_onnx() == model.to_onnx()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 129])
def test_a_row_scores_to_the_bit_alone_and_among_others(scorer, size):
    rows = np.vstack([rows_of(2, 400), odd_rows(60)])
    parts = [scorer.score(rows[start : start + size]) for start in range(0, len(rows), size)]
    assert np.concatenate(parts).tolist() == scorer.score(rows).tolist()


def test_no_value_of_a_sensor_leaves_it_without_a_score(scorer):
    assert np.isfinite(scorer.score(odd_rows(60))).all()
    assert scorer.score(np.empty((0, len(NAMES)))).tolist() == []


def test_saved_and_loaded_it_is_the_same(family, model):
    loaded = family.load(model.to_bytes())
    assert loaded.to_bytes() == model.to_bytes()
    assert loaded.to_onnx() == model.to_onnx()
    rows = rows_of(2, 50)
    assert loaded.parts(rows).tolist() == model.parts(rows).tolist()
    assert loaded.importance() == model.importance()


def test_its_graph_scores_as_it_explains(model, scorer):
    """So to the explanation belongs each score, and the graph is the model."""
    rows = np.vstack([rows_of(2, 400), odd_rows(60)])
    parts = model.parts(rows)
    assert parts.shape == (len(rows), len(NAMES) + 1)
    assert len(set(parts[:, -1])) == 1
    odds = np.clip(parts.sum(axis=1), -50, 50)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), scorer.score(rows), rtol=0, atol=1e-5)


def test_what_decides_is_told_and_nothing_else(family, model):
    parts = np.abs(model.parts(rows_of(2, 400))[:, :-1]).mean(axis=0)
    importance = model.importance()
    assert parts[EMPTY] == parts[CONSTANT] == 0
    assert importance.get(NAMES[EMPTY], 0) == importance.get(NAMES[CONSTANT], 0) == 0
    if not family.needs_labels:
        return  # to what is normal all features belong
    assert set(np.argsort(-parts)[:2]) == {0, 1}
    assert set(sorted(importance, key=importance.__getitem__)[-2:]) == {NAMES[0], NAMES[1]}


def test_scaling_is_of_the_log_odds(family):
    params, rounds = family.defaults(ROWS), min(ROUNDS, family.default_rounds)
    raw = family.fit(LEARNED, LABEL, CONTRACT, params, rounds=rounds, threads=1, seed=5)
    plain = OnnxScorer(raw.to_onnx()).score(LEARNED)
    scaled = OnnxScorer(raw.finished(SCALING, LEARNED, 1).to_onnx()).score(LEARNED)
    np.testing.assert_allclose(scaled, SCALING.scores(plain), rtol=0, atol=1e-5)
    *_, whole = raw.stages(LEARNED)  # in any unit
    assert np.diff(plain[np.argsort(whole)]).min() > -1e-6


def test_loaded_to_explain_it_brings_no_library_that_fits(family, model, tmp_path):
    """A server explains, and fits nothing."""
    (tmp_path / "native").write_bytes(model.to_bytes())
    code = (
        "import sys, numpy as np\n"
        "from breezeway.detector.families.registry import family_of\n"
        f"loaded = family_of({family.name!r}).load(open('native', 'rb').read())\n"
        f"loaded.parts(np.ones((2, {len(NAMES)})))\n"
        "print(*{'sklearn', 'onnx', 'optuna', 'pandas', 'xgboost'} & set(sys.modules))"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, check=True)
    assert set(done.stdout.split()) == ({b"xgboost"} if family.suffix == "ubj" else set())


def test_no_file_is_a_pickle(model):
    for content in (model.to_bytes(), model.to_onnx()):
        with pytest.raises((ValueError, pickle.UnpicklingError)):
            list(pickletools.genops(content))


@pytest.mark.parametrize("damaged", [b"", b"{not a model", b'{"features": 4}', b"[" * 100_000])
def test_a_file_of_something_else_is_an_error_with_a_reason(family, damaged):
    with pytest.raises(DataError, match=r"\w"):
        family.load(damaged)


def test_a_damaged_file_is_an_error_with_a_reason(family, model):
    if family.suffix == "ubj":
        pytest.skip("XGBoost may end the process: so a server loads a file in another one first")
    native = model.to_bytes()
    saved = json.loads(native)
    third, half = len(native) // 3, len(native) // 2
    damaged = [native[20:], native[:-20], native[:third] + native[half:], native + b"}"]
    for key in saved:
        for wrong in (None, [], [1e999], [[[[1]]]], "x", {}, 7):
            damaged.append(json.dumps({**saved, key: wrong}).encode())
    refused = 0
    for content in damaged:
        try:
            other = family.load(content)
        except DataError:
            refused += 1
        else:  # a list that may be empty, such as that of what a file does not tell
            assert np.isfinite(other.parts(LEARNED[:3])).all()
    assert refused >= 0.9 * len(damaged)


def test_a_parameter_that_it_does_not_take_is_named(family):
    for name in family.space(LABEL):
        params = {**family.defaults(ROWS), name: "many"}
        with pytest.raises(DataError, match=name):
            family.fit(LEARNED, LABEL, CONTRACT, params, rounds=1, threads=1, seed=5)


def test_its_space_holds_its_defaults(family):
    defaults = family.defaults(ROWS)
    for name, distribution in family.space(LABEL).items():
        assert distribution._contains(distribution.to_internal_repr(defaults[name])), name
