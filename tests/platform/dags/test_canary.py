"""The canary DAG: what is promoted is deployed, what is not leaves no challenger behind."""

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG

from breezeway.core.errors import UsageError
from breezeway_airflow import form
from breezeway_airflow.registry import PromoteChallenger
from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step
from tests.fixtures import airflow

VERSION = {"model_name": "pump", "model_version": "3"}


@pytest.fixture(scope="module")
def dag(airflow_database) -> Iterator[DAG]:
    with airflow.stored_dags() as dags:
        yield dags["canary"]


@pytest.fixture
def run(dag, monkeypatch):
    """Run the DAG with the steps left out: what each was given, and the tasks' states."""
    given: dict[str, Any] = {}

    def run(mode: str, verdict: dict[str, str] | None) -> tuple[dict[str, Any], dict[str, str]]:
        def execute(self, context):
            given[self.task_id] = {k: v for k, v in self.arguments.items() if v}
            if self.task_id == "watch" and verdict is None:
                raise UsageError("not on trial any more")
            return verdict if self.task_id == "watch" else {}

        monkeypatch.setattr(Step, "execute", execute)
        checked = {**VERSION, "champion": "2", "force": "to see"}
        monkeypatch.setattr(form, "check_canary", lambda *_: checked)
        conf = {**VERSION, "mode": mode, "percent": 20, "minutes": 5, "force": "to see"}
        finished = dag.test(run_conf=conf)
        states = {ti.task_id: str(ti.state) for ti in finished.get_task_instances()}
        return given, {**states, "dag": str(finished.state)}

    return run


@pytest.fixture
def promoted(monkeypatch) -> list[tuple]:
    """What the registry is told; it promotes."""
    from breezeway.tracking import champions, gate

    told: list[tuple] = []

    def promote(settings, *arguments):
        told.append(arguments)
        return gate.Decision(True, arguments[-1])

    monkeypatch.setattr(champions, "promote", promote)
    return told


@pytest.mark.parametrize(
    ("mode", "option"),
    [("canary", {"canary": "20"}), ("bandit", {"bandit": "20"}), ("shadow", {"shadow": "yes"})],
)
def test_a_challenger_that_passes_is_promoted_and_deployed(run, promoted, mode, option) -> None:
    given, states = run(mode, {"decision": "promote", "reason": "as good"})
    assert given == {
        "put_on_trial": VERSION | option | {"force": "to see"},
        "watch": VERSION | {"minutes": "5"},
        "deploy": {"model_name": "pump", "model_version": "champion"},
        "withdraw": VERSION | {"withdraw": "yes"},
    }
    assert promoted == [("pump", "3", "2", "as good")]
    assert set(states.values()) == {"success"}


def test_one_that_is_rolled_back_is_not_deployed(run, promoted) -> None:
    given, states = run("canary", {"decision": "roll back", "reason": "slow"})
    assert promoted == []
    assert "deploy" not in given
    assert states == dict.fromkeys(
        ["check_inputs", "put_on_trial", "watch", "promote", "withdraw", "dag"], "success"
    ) | {"deploy": "skipped"}


def test_one_that_nobody_watches_any_more_is_withdrawn(run, promoted) -> None:
    given, states = run("canary", None)
    assert promoted == []
    assert given["withdraw"] == VERSION | {"withdraw": "yes"}
    assert (states["watch"], states["withdraw"], states["dag"]) == ("failed", "success", "failed")


@pytest.mark.parametrize(
    ("field", "value"),
    [("mode", "a/b"), ("percent", 0), ("percent", 100), ("minutes", 0), ("model_version", "")],
)
def test_the_form_refuses_what_cannot_be(dag, field: str, value: object) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dag.params.get_param(field).resolve(value)


def test_each_field_has_its_help_from_the_docstring(dag) -> None:
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        assert schema["description_md"] in " ".join(dag.doc_md.split())
        assert len(schema["description_md"]) > 20


def test_retries_come_from_the_error_tree(dag) -> None:
    for task in dag.tasks:
        assert task.retry_policy is not None
        assert task.retries == RETRIES["retries"]
        assert task.execution_timeout
    assert isinstance(dag.get_task("promote"), PromoteChallenger)
