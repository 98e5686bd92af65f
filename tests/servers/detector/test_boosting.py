"""XGBoost is imported without scikit-learn, and nobody else notices."""

import subprocess
import sys


def run(code: str) -> str:
    """What code prints in an interpreter that has imported nothing."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_xgboost_brings_neither_scikit_learn_nor_pandas_nor_the_statistics_of_scipy():
    """An upgrade of XGBoost may look for scikit-learn in another way."""
    code = (
        "import sys\n"
        "import breezeway.detector.boosting\n"
        "print(*{'sklearn', 'pandas', 'scipy.stats'} & set(sys.modules))"
    )
    assert run(code).split() == []


def test_scikit_learn_can_be_imported_afterwards_and_xgboost_learns():
    code = (
        "import numpy as np\n"
        "from breezeway.detector.boosting import matrix, xgb\n"
        "from sklearn.base import BaseEstimator\n"
        "rows, label = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])\n"
        "learned = matrix(rows, label, list('abcd'), threads=1)\n"
        "print(xgb.train({'nthread': 1}, learned, 2).num_boosted_rounds())"
    )
    assert run(code).split() == ["2"]


def test_scikit_learn_that_is_there_already_stays():
    code = (
        "import sys\n"
        "import sklearn\n"
        "import breezeway.detector.boosting\n"
        "print(sys.modules['sklearn'] is sklearn)"
    )
    assert run(code).split() == ["True"]
