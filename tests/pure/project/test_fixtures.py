"""Tests load what they ask for and no more."""

import subprocess
import sys

from tests.fixtures import ROOT

HEAVY = {"airflow", "bentoml", "dvc", "duckdb", "mlflow", "numpy", "pandas", "pyarrow", "ray"}


def test_a_test_that_asks_for_no_fixture_loads_no_heavy_library() -> None:
    code = f"import sys, tests.conftest; print(*{HEAVY} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == []
