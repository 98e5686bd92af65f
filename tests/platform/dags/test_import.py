"""Every DAG is read without an error, quickly, and without any library of the ML side."""

import json
import subprocess
import sys

from tests.fixtures import ROOT

ML = (
    *("bentoml", "connectorx", "duckdb", "dvc", "evidently", "matplotlib", "mlflow", "numpy"),
    *("onnx", "onnxruntime"),
    *("optuna", "pandas", "polars", "pyarrow", "ray", "scipy", "sklearn", "sqlglot", "xgboost"),
)
PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
DagBag()  # what Airflow itself imports on the way does not count
calls = 0
def count(frame, event, argument):
    global calls
    calls += event == "call"
sys.setprofile(count)
bag = DagBag()
sys.setprofile(None)
print(json.dumps({
    "calls": calls,
    "errors": {str(k): v for k, v in bag.import_errors.items()},
    "dags": {d.dag_id: [t.pool for t in d.tasks] for d in bag.dags.values()},
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""


def test_dags_are_parsed_quickly_and_without_ml() -> None:
    pools_file = ROOT / "dags" / "pools.json"
    parsed = subprocess.run(
        [sys.executable, "-c", PARSE], capture_output=True, text=True, check=True, cwd=ROOT
    )
    found = json.loads(parsed.stdout.splitlines()[-1])
    assert found["errors"] == {}
    assert set(found["dags"]) == {path.stem for path in (ROOT / "dags").glob("*.py")}
    assert not set(found["modules"]) & set(ML)
    assert found["calls"] < 500_000, "a second of Python is some millions"
    pools = {pool for pools in found["dags"].values() for pool in pools}
    assert pools == {"default_pool", *json.loads(pools_file.read_text())}
