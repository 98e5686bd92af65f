"""An attempt that Airflow starts by mistake ends as the first one did; the step runs once."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.fixtures import ROOT
from tests.fixtures.kubernetes import NAMESPACE, serve

DAGS = """\
from datetime import timedelta

from airflow.sdk import DAG

from breezeway_airflow import pod_trigger
from breezeway_airflow.pod import PodStep
from breezeway_airflow.process import ProcessStep
from breezeway_airflow.retry import RETRIES
from tests.fixtures.airflow_attempts import plan_retry

pod_trigger.SETTLE_SECONDS = 0


class Process(ProcessStep):
    def execute(self, context):
        try:
            return super().execute(context)
        finally:
            plan_retry(context)


class Pod(PodStep):
    def finish(self, context, event):
        try:
            super().finish(context, event)
        finally:
            plan_retry(context)


class PodBeforeItsResult(PodStep):
    def finish(self, context, event):
        plan_retry(context)
        super().finish(context, event)


CODES = {Process: (0, 65, 75), Pod: (0, 65), PodBeforeItsResult: (0, 65)}
for kind, codes in CODES.items():
    for code in codes:
        with DAG(f"{kind.__name__}_{code}", schedule=None, default_args=RETRIES | {
            "retry_delay": timedelta(seconds=0.1), "retry_exponential_backoff": 0,
        }) as dag:
            kind(task_id="probe", arguments={"code": code})
        globals()[dag.dag_id] = dag
"""
pytestmark = pytest.mark.timeout(600)  # seven runs of Airflow, in one process

KINDS = ["Process", "Pod", "PodBeforeItsResult"]
STEP = """\
import json, os, sys
from pathlib import Path

code = int(sys.argv[1].removeprefix("--code="))
with open(os.environ["PROBE_RUNS"], "a") as file:
    print(os.environ["BREEZEWAY_RUN_ID"].split("/")[0], file=file)
result = {"error": "as told"} if code else {"rows": 3}
Path(os.environ["BREEZEWAY_RESULT"]).write_text(json.dumps(result))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    """DAG → how its task ended, also after it was cleared, and how often the step has run."""
    folder = tmp_path_factory.mktemp("attempts")
    package = folder / "include" / "breezeway" / "steps"
    package.mkdir(parents=True)
    for path in (package.parent / "__init__.py", package / "__init__.py"):
        path.touch()
    step = package / "probe.py"
    step.write_text(STEP)
    (folder / "dags").mkdir()
    (folder / "dags" / "steps.py").write_text(DAGS)
    container = {
        "name": "base",
        "image": "breezeway/probe:1",
        "command": ["env", f"PROBE_RUNS={folder / 'runs'}", sys.executable, str(step)],
    }
    (folder / "probe.yaml").write_text(yaml.safe_dump({"spec": {"containers": [container]}}))
    with serve(folder) as cluster:
        extra = {"kube_config_path": str(cluster.kubeconfig), "namespace": NAMESPACE}
        environment = {
            **{name: value for name, value in os.environ.items() if "AIRFLOW" not in name},
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(
                {"conn_type": "kubernetes", "extra": extra}
            ),
            "BREEZEWAY_POD_TEMPLATES": str(folder),
            "PROBE_RUNS": str(folder / "runs"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.fixtures.airflow_attempts", str(folder)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert cluster.pods == {}
    runs = (folder / "runs").read_text().split()
    tasks = json.loads(done.stdout.splitlines()[-1])
    return {name: (*ends, runs.count(name)) for name, ends in tasks.items()}


def outcome(end: list[Any]) -> list[Any]:
    state, attempts, xcoms = end
    return [state, attempts, xcoms.get("return_value")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_success_stays_one_and_a_cleared_task_runs_again(ended, kind) -> None:
    first, cleared, runs = ended[f"{kind}_0"]
    assert outcome(first) == ["success", 2, {"rows": 3}]
    assert outcome(cleared) == ["success", 3, {"rows": 3}]
    assert runs == 2
    if kind != "Process":
        assert first[2]["image"].startswith("sha256:")
        assert first[2]["pod_name"].startswith("probe-")


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_that_forbids_a_retry_stays_one(ended, kind) -> None:
    first, cleared, runs = ended[f"{kind}_65"]
    assert outcome(first) == ["failed", 2, None]
    assert outcome(cleared) == ["failed", 3, None]
    assert runs == 2


def test_an_error_that_allows_a_retry_is_tried_again(ended) -> None:
    first, cleared, runs = ended["Process_75"]
    assert outcome(first) == ["failed", 3, None]
    assert outcome(cleared) == ["failed", 6, None]
    assert runs == 6
