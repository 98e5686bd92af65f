"""The rollback DAG: who was champion before is again, with the reason, and is deployed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from breezeway.core.settings import Settings
from breezeway.tracking import champions, registry, rest
from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step
from tests.fixtures import airflow


@pytest.fixture(scope="module")
def dag(airflow_database: None) -> Iterator[DAG]:
    with airflow.stored_dags() as dags:
        yield dags["rollback"]


@pytest.fixture
def settings(mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
    return Settings.from_environment()


@pytest.fixture
def model(settings: Settings) -> str:
    """A model of three versions, each of which was champion in its turn."""
    name = f"pump-{uuid4().hex}"
    rest.post(settings, "registered-models/create", name=name)
    run = rest.post(settings, "runs/create", experiment_id="0")["run"]["info"]
    source = {"run_id": run["run_id"], "source": f"{run['artifact_uri']}/model"}
    before = None
    for version in ("1", "2", "3"):
        rest.post(settings, "model-versions/create", name=name, **source)
        champions.promote(settings, name, version, before, "better")
        before = version
    return name


@pytest.fixture
def roll_back(
    dag: DAG, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[dict[str, Any]], dict[str, str]]]:
    """Run the DAG with the step left out: what that was given, and the tasks' states."""

    def run(**form: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
        given: list[dict[str, Any]] = []

        def execute(self: Step, context: Any) -> dict[str, Any]:
            given.append(self.arguments)
            return {}

        monkeypatch.setattr(Step, "execute", execute)
        finished = dag.test(run_conf=form)
        return given, {ti.task_id: str(ti.state) for ti in finished.get_task_instances()}

    return run


def reason_of(settings: Settings, model: str, version: str) -> str:
    return registry.find_version(settings, model, version).tags["reason"]


def test_the_champion_before_comes_back_and_is_deployed(roll_back, settings, model) -> None:
    given, states = roll_back(model_name=model, model_version="", reason="alarms at night")
    assert states == dict.fromkeys(["check_inputs", "rollback", "deploy"], "success")
    assert champions.champion(settings, model) == "2"
    assert given == [{"model_name": model, "model_version": "champion"}]
    assert "alarms at night" in reason_of(settings, model, "3")


def test_a_version_that_is_named_comes_back(roll_back, settings, model) -> None:
    _, states = roll_back(model_name=model, model_version="1", reason="the last that was right")
    assert set(states.values()) == {"success"}
    assert champions.champion(settings, model) == "1"


def test_a_version_that_was_never_champion_is_not_deployed(roll_back, settings, model) -> None:
    given, states = roll_back(model_name=model, model_version="9", reason="a slip of the hand")
    assert (states["rollback"], states["deploy"]) == ("failed", "upstream_failed")
    assert given == []
    assert champions.champion(settings, model) == "3"


def test_a_model_without_a_champion_is_named_at_once(roll_back, settings) -> None:
    given, states = roll_back(model_name="nobody", model_version="", reason="alarms")
    assert states["check_inputs"] == "failed"
    assert given == []


@pytest.mark.parametrize(
    ("field", "value"), [("reason", ""), ("reason", "x" * 501), ("model_version", "champion")]
)
def test_the_form_refuses_what_cannot_be(dag: DAG, field: str, value: str) -> None:
    with pytest.raises(ParamValidationError):
        dag.params.get_param(field).resolve(value)


def test_retries_come_from_the_error_tree(dag: DAG) -> None:
    assert {task.retries for task in dag.tasks} == {RETRIES["retries"]}
