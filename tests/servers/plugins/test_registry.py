"""Promotion and rollback as tasks: a refusal skips the deployment and fails nothing."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import DownstreamTasksSkipped

from breezeway.core.settings import Settings
from breezeway.tracking import champions, registry, rest
from breezeway_airflow.registry import PromoteChallenger, PromoteModel, RollbackModel


class Instance(SimpleNamespace):
    """What a task leaves behind."""

    map_index = -1

    def xcom_push(self, key: str, value: Any) -> None:
        setattr(self, key, value)


@pytest.fixture
def model(mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model with two tested versions: the first better than chance, the second worse."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
    settings = Settings.from_environment()
    name = f"pump-{uuid4().hex}"
    rest.post(settings, "registered-models/create", name=name)
    run = rest.post(settings, "runs/create", experiment_id="0")["run"]["info"]
    for score in (0.9, 0.1):
        source = {"run_id": run["run_id"], "source": f"{run['artifact_uri']}/model"}
        made = rest.post(settings, "model-versions/create", name=name, **source)
        evidence = {
            "labelled": True,
            "champion": None,
            "average_precision": score,
            "baseline": {"always_on": 0.3, "random": 0.3},
        }
        rest.post(
            settings,
            "model-versions/set-tag",
            name=name,
            version=made["model_version"]["version"],
            key="breezeway.evidence",
            value=json.dumps(evidence),
        )
    return name


def promote(model: str, version: str, instance: Instance) -> dict[str, Any]:
    with DAG("a_dag"):
        task = PromoteModel(
            task_id="promote",
            model_name=model,
            model_version=version,
            skip_when_refused=["deploy"],
        )
        task >> BaseOperator(task_id="deploy")
    return task.execute({"ti": instance})


def test_a_version_that_passes_is_champion_and_again(model) -> None:
    for reason in ("above", "champion already|above"):
        result = promote(model, "1", Instance())
        assert result["promoted"], reason
        assert result["model_version"] == "1"
    assert champions.champion(Settings.from_environment(), model) == "1"


def test_a_refusal_succeeds_and_skips_the_deployment(model) -> None:
    instance = Instance()
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        promote(model, "2", instance)
    assert skipped.value.tasks == ["deploy"]
    assert instance.return_value["promoted"] is False
    assert "not above" in instance.return_value["reason"]
    assert champions.champion(Settings.from_environment(), model) is None


def after_trial(model: str, decision: str, instance: Instance) -> dict[str, Any]:
    with DAG("a_dag"):
        task = PromoteChallenger(
            task_id="promote",
            model_name=model,
            model_version="2",
            champion="1",
            decision=decision,
            reason="1000 predictions",
            skip_when_refused=["deploy"],
        )
        task >> BaseOperator(task_id="deploy")
    return task.execute({"ti": instance})


def test_a_challenger_that_passes_is_champion_with_the_reason(model) -> None:
    settings = Settings.from_environment()
    champions.promote(settings, model, "1", None, "first")
    for _ in range(2):
        result = after_trial(model, "promote", Instance())
        assert (result["promoted"], result["reason"]) == (True, "1000 predictions")
    assert champions.champion(settings, model) == "2"
    kept = registry.find_version(settings, model, "2").tags
    assert kept["reason"] == "1000 predictions"


@pytest.mark.parametrize("decision", ["roll back", "promote"])
def test_a_challenger_that_lost_or_came_late_is_not_deployed(model, decision) -> None:
    settings = Settings.from_environment()
    if decision == "roll back":
        champions.promote(settings, model, "1", None, "first")  # else the champion is another now
    instance = Instance()
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        after_trial(model, decision, instance)
    assert skipped.value.tasks == ["deploy"]
    assert instance.return_value["promoted"] is False
    assert champions.champion(settings, model) != "2"


def test_a_second_attempt_of_a_rollback_goes_no_second_step_back(model) -> None:
    settings = Settings.from_environment()
    champions.promote(settings, model, "1", None, "first")
    champions.promote(settings, model, "2", "1", "second")
    for _ in range(2):
        task = RollbackModel(
            task_id="rollback", model_name=model, from_version="2", reason="too many alarms"
        )
        result = task.execute({})
        assert (result["model_version"], result["previous"]) == ("1", "2")
    assert champions.champion(settings, model) == "1"
