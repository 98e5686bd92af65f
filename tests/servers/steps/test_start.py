"""A step imports what it uses, when it uses it."""

import json
import subprocess
import sys

import pytest

from tests.fixtures import ROOT

STEPS = sorted(
    path.stem
    for path in (ROOT / "include/breezeway/steps").glob("*.py")
    if path.stem not in ("__init__", "runner")
)
HEAVY = {
    *("onnx", "onnxruntime"),
    *("airflow", "bentoml", "boto3", "duckdb", "dvc", "evidently", "httpx", "matplotlib", "mlflow"),
    *("optuna", "pandas", "pyarrow", "ray", "scipy", "sklearn", "sqlalchemy", "sqlglot", "xgboost"),
}
AT_ONCE = {"deploy": {"httpx"}, "canary": {"httpx"}}
"""Step → what it needs before all else: these two ask the model servers."""
NEVER = {
    "detector.boosting": HEAVY - {"xgboost", "scipy"},
    "detector.scoring": HEAVY - {"onnxruntime"},
    "detector.families.logistic_regression": HEAVY,
    "detector.families.neural_network": HEAVY,
    "detector.families.presumed_normal": HEAVY,
    "detector.trials": {
        "bentoml",
        "evidently",
        "httpx",
        "matplotlib",
        "mlflow",
        "optuna",
        "ray",
        "sklearn",
    },
    "detector.ray_trials": {"bentoml", "evidently", "httpx", "matplotlib", "mlflow", "optuna"},
    "detector.search": {"bentoml", "evidently", "httpx", "matplotlib", "mlflow", "ray", "sklearn"},
    "preprocessing.days": {
        "evidently",
        "matplotlib",
        "mlflow",
        "pandas",
        "ray",
        "scipy",
        "sklearn",
        "xgboost",
    },
    "pipeline.evaluation": {
        "bentoml",
        "evidently",
        "matplotlib",
        "mlflow",
        "optuna",
        "ray",
        "sklearn",
    },
    "pipeline.nightly": {
        "bentoml",
        "evidently",
        "matplotlib",
        "mlflow",
        "optuna",
        "ray",
        "sklearn",
    },
    "pipeline.backtest": {"evidently", "matplotlib", "mlflow", "optuna", "ray", "sklearn"},
    "datasets.versions": HEAVY,
    "tracking.champions": HEAVY,
    "tracking.mlflow_client": HEAVY,
}
"""Module → what it does without until it draws, reports, or asks MLflow."""


def loaded(module: str) -> set[str]:
    """What importing a module of ours brings, in an interpreter of its own."""
    code = (
        f"import json, sys, {module}\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(found.stdout))


@pytest.mark.parametrize("step", STEPS)
def test_until_its_arguments_are_read_a_step_loads_little(step):
    assert loaded(f"breezeway.steps.{step}") & HEAVY == AT_ONCE.get(step, set())


@pytest.mark.parametrize("module", NEVER)
def test_no_module_loads_what_its_work_does_without(module):
    assert not loaded(f"breezeway.{module}") & NEVER[module]


def test_xgboost_works_and_scikit_learn_can_still_be_imported():
    import numpy as np

    from breezeway.detector.boosting import matrix, xgb

    learned = matrix(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]), list("abcd"), threads=1)
    booster = xgb.train({"nthread": 1}, learned, num_boost_round=1)
    assert booster.num_boosted_rounds() == 1
    import sklearn.base

    assert sklearn.base.BaseEstimator
