"""A graph scores as its booster does, and a row by itself as among others."""

import os
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from breezeway.core.errors import DataError
from breezeway.detector.boosting import matrix, xgb
from breezeway.detector.onnx_scorer import FEATURE_NAMES, OnnxScorer
from breezeway.detector.onnx_trees import to_onnx
from breezeway.detector.platt_scaling import PlattScaling

NAMES = ["temperature", "pressure:mean", "speed", "constant"]
ROUNDS = 120  # more trees than ONNX Runtime would sum up in threads


def rows_of(seed: int, count: int) -> np.ndarray:
    """Values on and between the limits of trees, missing ones and endless ones."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, len(NAMES))).round(1).astype(np.float32)
    rows[:, 3] = 7
    rows[generator.random(rows.shape) < 0.1] = np.nan
    return rows


@pytest.fixture(scope="module")
def booster() -> xgb.Booster:
    rows = rows_of(0, 600)
    label = np.nan_to_num(rows[:, 0]) > np.nan_to_num(rows[:, 1]) * np.nan_to_num(rows[:, 2])
    params = {"objective": "binary:logistic", "max_depth": 5, "nthread": 1, "subsample": 0.8}
    grown = xgb.train(params, matrix(rows, label, NAMES, threads=1), ROUNDS)
    return PlattScaling(1.7, -0.4).booster(grown, threads=1)


@pytest.fixture(scope="module")
def graph(booster) -> bytes:
    return to_onnx(booster)


def test_scores_are_those_of_the_booster(booster, graph):
    rows = rows_of(1, 3000)
    rows[::100, 0], rows[::150, 2] = np.inf, -np.inf
    own = OnnxScorer(graph).score(rows)
    np.testing.assert_allclose(own, booster.inplace_predict(rows), rtol=0, atol=2e-7)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 129])
def test_a_score_has_the_same_bits_however_many_rows_are_scored_together(graph, size):
    scorer, rows = OnnxScorer(graph), rows_of(2, 600)
    parts = [scorer.score(rows[start : start + size]) for start in range(0, len(rows), size)]
    assert np.concatenate(parts).tolist() == scorer.score(rows).tolist()


def test_no_row_has_no_score(graph):
    assert OnnxScorer(graph).score(np.empty((0, len(NAMES)))).tolist() == []


def test_the_same_booster_gives_the_same_bytes_and_names_its_features(booster, graph):
    assert to_onnx(booster) == graph
    assert OnnxScorer(graph).feature_names == booster.feature_names == NAMES


def test_a_booster_that_learned_nothing_has_a_graph_too():
    rows = rows_of(3, 100)
    params = {"objective": "binary:logistic", "gamma": 1e9, "nthread": 1}
    learned = matrix(rows, np.arange(100) < 20, NAMES, threads=1)
    booster = xgb.train(params, learned, 3)
    expected = booster.inplace_predict(rows)
    np.testing.assert_allclose(OnnxScorer(to_onnx(booster)).score(rows), expected, atol=1e-6)


@pytest.mark.parametrize("part", [slice(0), slice(1000), slice(-30), slice(200, None)])
def test_a_damaged_graph_is_an_error_with_a_reason(graph, part):
    with pytest.raises(DataError, match="ONNX Runtime does not load the graph: "):
        OnnxScorer(graph[part])


def identity(output: str, kind: int, **about: str) -> bytes:
    node = helper.make_node("Identity", ["features"], [output])
    sides = [helper.make_tensor_value_info(name, kind, [None]) for name in ("features", output)]
    made = helper.make_graph([node], "other", sides[:1], sides[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    helper.set_model_props(model, about)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (identity("label", TensorProto.FLOAT), r"gives .*label.*, expected features and score"),
        (
            identity("score", TensorProto.DOUBLE),
            r"double.*, expected features and score in float32",
        ),
        (identity("score", TensorProto.FLOAT), f"has no {FEATURE_NAMES}"),
        (identity("score", TensorProto.FLOAT, **{FEATURE_NAMES: "[4"}), "is no list of names"),
        (identity("score", TensorProto.FLOAT, **{FEATURE_NAMES: "[4]"}), "is no list of names"),
    ],
)
def test_another_graph_is_refused(other, reason):
    with pytest.raises(DataError, match=reason):
        OnnxScorer(other)


def test_onnx_runtime_reports_nothing(tmp_path):
    """What it would report it keeps in the folder of caches first."""
    variables = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    variables |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "import breezeway.detector.onnx_scorer"
    subprocess.run([sys.executable, "-c", code], env=variables, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))
