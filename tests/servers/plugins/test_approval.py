"""A person's answer about a promotion: kept with the version, and acted on."""

import json
from datetime import UTC, datetime
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
from breezeway_airflow.approval import ApprovePromotion


@pytest.fixture
def model(mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model whose version 1 was tested and is worse than chance."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
    settings = Settings.from_environment()
    name = f"pump-{uuid4().hex}"
    rest.post(settings, "registered-models/create", name=name)
    run = rest.post(settings, "runs/create", experiment_id="0")["run"]["info"]
    source = {"run_id": run["run_id"], "source": f"{run['artifact_uri']}/model"}
    rest.post(settings, "model-versions/create", name=name, **source)
    evidence = {"labelled": True, "champion": None, "average_precision": 0.1}
    evidence["baseline"] = {"always_on": 0.3, "random": 0.3}
    champions.keep(settings, name, "1", evidence=json.dumps(evidence))
    return name


def approval(model: str) -> ApprovePromotion:
    with DAG("a_dag"):
        task = ApprovePromotion(task_id="approve", model_name=model, model_version="1")
        task >> [BaseOperator(task_id="promote"), BaseOperator(task_id="deploy")]
    return task


def answer(model: str, option: str, user: str | None) -> Any:
    instance = SimpleNamespace(map_index=-1, xcom_push=lambda key, value: None)
    task = approval(model)
    event = {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": user and {"id": user, "name": user},
        "timedout": user is None,
    }
    return task.execute_complete({"ti": instance, "task": task}, event)


def kept(model: str) -> dict[str, str]:
    return registry.find_version(Settings.from_environment(), model, "1").tags


def test_nobody_is_asked_about_what_the_gate_refuses(model: str) -> None:
    assert approval(model).execute({}) is None


def test_an_approval_keeps_who_gave_it_and_goes_on(model: str) -> None:
    answer(model, "Approve", "ada")
    assert kept(model)["approved_by"] == "ada"


@pytest.mark.parametrize(
    ("user", "reason"),
    [("ada", "ada rejected it."), (None, "Nobody approved it in time.")],
)
def test_a_rejection_is_kept_and_skips_promotion_and_deployment(model, user, reason) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        answer(model, "Reject", user)
    assert set(skipped.value.tasks) == {"promote", "deploy"}
    assert kept(model)["decision"] == "refused"
    assert kept(model)["reason"] == reason
