"""The step from the registry to the live server, against a real one of each."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
import xgboost as xgb
from filelock import FileLock

from breezeway.settings import Settings
from tests.fixtures.serving import (
    ModelServer,
    examples_of,
    make_model,
    make_readings,
    new_port,
)

INCLUDE = Path(__file__).parents[2] / "include"


class Deploy:
    """Runs the step as a command against MLflow and a model server."""

    def __init__(self, server: ModelServer, mlflow_url: str, folder: Path):
        self.server = server
        self._result = folder / "result.json"
        self._log = folder / "deploy.log"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(INCLUDE),
            "BREEZEWAY_HOME": str(server.home),
            "BREEZEWAY_MLFLOW_URL": mlflow_url,
            "BREEZEWAY_SERVING_URL": server.url,
            "BREEZEWAY_RESULT": str(self._result),
        }

    def start(self, name: str, version: str, **environment: str) -> subprocess.Popen:
        self._result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "breezeway.steps.deploy"]
        return subprocess.Popen(
            [*command, "--model-name", name, "--model-version", version],
            env={**self.environment, **environment},
            stdout=self._log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def __call__(self, name: str, version: str, **environment: str) -> dict:
        code = self.start(name, version, **environment).wait(timeout=120)
        assert self._result.exists(), self._log.read_text()
        result = json.loads(self._result.read_text())
        assert result.get("exit_code", 0) == code, self._log.read_text()
        return result


@pytest.fixture
def deploy(model_server, mlflow_server, tmp_path) -> Deploy:
    return Deploy(model_server, mlflow_server, tmp_path)


def register(folder: Path, name: str) -> str:
    """Log and register a model as training does; returns its version."""
    booster = xgb.Booster(model_file=folder / "model.ubj")
    with mlflow.start_run() as run:
        logged = mlflow.xgboost.log_model(
            booster,
            name="model",
            model_format="ubj",
            extra_files=[str(path) for path in sorted((folder / "extra_files").iterdir())],
            pip_requirements=["xgboost-cpu"],
            registered_model_name=name,
        )
    version = logged.registered_model_version
    client = mlflow.MlflowClient()
    tags = {"data_tag": f"data-{version}", "run_id": run.info.run_id, "code": "abc123"}
    for key, value in tags.items():
        client.set_model_version_tag(name, version, f"breezeway.{key}", value)
    return str(version)


@pytest.fixture(scope="module")
def registered(mlflow_server, tmp_path_factory) -> Iterator[Path]:
    """Model `turbine`: versions 1 and 2 are good, version 3 scores otherwise than it says."""
    folder = tmp_path_factory.mktemp("registered")
    mlflow.set_tracking_uri(mlflow_server)
    for seed in (1, 2, 3):
        model = make_model(folder / str(seed), seed=seed, model_name="turbine")
        if seed == 3:
            examples = examples_of(model)
            examples[0]["score"] = 0.123
            (model / "extra_files" / "examples.json").write_text(json.dumps(examples))
        register(model, "turbine")
    mlflow.MlflowClient().set_registered_model_alias("turbine", "champion", "2")
    yield folder
    mlflow.set_tracking_uri(None)


def serves(server: ModelServer, name: str = "turbine") -> tuple[str, str]:
    """The version that answers, and the one that the pointer names."""
    answer = server.predict(name, device="pump-1", readings=make_readings(1)).json()
    return answer["model_version"], server.store.pointer(name).model_version


def test_a_version_goes_live_and_a_bad_one_does_not(registered, deploy):
    first = deploy("turbine", "1")
    assert first["bento"] == f"turbine:{first['deployment']}"
    assert (first["model_version"], first["previous"]) == ("1", None)

    second = deploy("turbine", "champion")
    assert (second["model_version"], second["previous"]) == ("2", first["deployment"])
    assert serves(deploy.server) == ("2", "2")
    assert deploy.server.store.pointer("turbine").verified_at
    assert deploy("turbine", "2") == second, "again: nothing to do"

    bad = deploy("turbine", "3")
    assert bad["exit_code"] == 65
    assert "rejects turbine:3-" in bad["error"]
    assert "the score is" in bad["error"]
    assert serves(deploy.server) == ("2", "2")

    back = deploy("turbine", "1")
    assert (back["deployment"], back["previous"]) == (first["deployment"], second["deployment"])
    assert serves(deploy.server) == ("1", "1")


def test_a_deployment_is_a_bento_that_bentoml_serves_by_itself(
    registered, deploy, new_model_server
):
    deployment = deploy("turbine", "1")["deployment"]
    folder = deploy.server.store.folder / "turbine" / deployment
    alone = new_model_server(str(folder)).start()
    example = examples_of(registered / "1")[0]
    answer = alone.predict("turbine", device=example["device"], readings=example["readings"])
    assert answer.json()["score"] == example["score"]
    assert answer.json()["data_tag"] == "data-1"
    labels = (folder / "bento.yaml").read_text()
    assert "run_id: " in labels
    assert "code: abc123" in labels


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def start_building(deploy: Deploy, version: str) -> subprocess.Popen:
    """Start the step and return when it builds the Bento; there is none in the store."""
    for folder in (deploy.server.store.folder / "turbine").glob(f"{version}-*"):
        shutil.rmtree(folder)
    work = deploy.server.home / "work" / "deploy-turbine"
    left_over = changed(work)
    step = deploy.start("turbine", version)
    wait_until(lambda: changed(work) not in (None, left_over))
    return step


def changed(path: Path) -> int | None:
    try:
        return path.stat().st_ctime_ns
    except FileNotFoundError:
        return None


def interrupt_before_it_is_seen_to_work(deploy: Deploy, version: str, number: int) -> int:
    """Signal the step when the pointer has moved and the server did not answer yet."""
    step = start_building(deploy, version)
    with deploy.server.paused():
        wait_until(lambda: deploy.server.store.pointer("turbine").model_version == version)
        step.send_signal(number)
        return step.wait()


def test_killed_anywhere_a_rerun_deploys(registered, deploy):
    deploy("turbine", "1")
    store = deploy.server.store
    step = start_building(deploy, "2")
    step.kill()
    step.wait()
    assert serves(deploy.server) == ("1", "1")

    interrupt_before_it_is_seen_to_work(deploy, "2", signal.SIGKILL)
    assert store.pointer("turbine").verified_at is None
    assert store.pointer("turbine").previous.model_version == "1"

    result = deploy("turbine", "2")
    assert result["previous"].startswith("1-")
    assert serves(deploy.server) == ("2", "2")
    assert not (deploy.server.home / "work" / "deploy-turbine").exists()


def test_asked_to_stop_it_leaves_the_old_one_in_place(registered, deploy):
    deploy("turbine", "2")
    code = interrupt_before_it_is_seen_to_work(deploy, "1", signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert deploy.server.store.pointer("turbine").model_version == "2"


def test_a_server_that_is_away_is_said_before_anything_moves(registered, deploy):
    url = f"http://127.0.0.1:{new_port()}"
    result = deploy("turbine", "1", BREEZEWAY_SERVING_URL=url)
    assert result["exit_code"] == 69
    assert url in result["error"]


def test_mlflow_away_is_unavailable(deploy):
    url = f"http://127.0.0.1:{new_port()}"
    result = deploy("turbine", "1", BREEZEWAY_MLFLOW_URL=url)
    assert result["exit_code"] == 69
    assert url in result["error"]


@pytest.mark.parametrize(
    ("name", "version"), [("nobody", "1"), ("turbine", "99"), ("turbine", "nobody"), ("../x", "1")]
)
def test_what_is_not_registered_is_a_usage_error(registered, deploy, name, version):
    result = deploy(name, version)
    assert result["exit_code"] == 64
    assert name in result["error"]


def test_of_two_at_once_one_waits(registered, deploy):
    versions = "1", "2"
    steps = [deploy.start("turbine", version) for version in versions]
    assert [step.wait() for step in steps] == [0, 0]
    answering, pointed_at = serves(deploy.server)
    assert answering == pointed_at


def test_who_waits_too_long_comes_back_later(registered, deploy):
    locks = Settings(home=deploy.server.home).locks
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / "deploy-turbine.lock"):
        result = deploy("turbine", "1", BREEZEWAY_LOCK_WAIT_SECONDS="0.2")
    assert result["exit_code"] == 75
    assert "still under way" in result["error"]
