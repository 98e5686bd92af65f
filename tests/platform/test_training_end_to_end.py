"""The whole `training` DAG on the real platform, as the web form and `make demo` trigger it."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.deployment.store import DeploymentStore
from breezeway.laptop import dag_run, demo
from breezeway.laptop.platform import Platform
from breezeway.pipeline import lineage
from breezeway.pipeline.backups import back_up, restore
from breezeway.readings import simulate

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def client(platform: Platform):
    with platform.airflow() as client:
        yield client


@pytest.fixture(scope="module")
def readings(platform: Platform) -> int:
    return simulate.fill(platform.settings, devices=3, days=6, bad_share=0.05)["readings"]


def finish(client: httpx.Client, run_id: str, seconds: float = 400) -> dict[str, str]:
    """Wait for the end of a run; return the state of each task."""
    deadline = time.monotonic() + seconds
    while client.get(f"/api/v2/dags/training/dagRuns/{run_id}").json()["state"] in (
        "queued",
        "running",
    ):
        assert time.monotonic() < deadline
        time.sleep(1)
    return {name: task["state"] for name, task in dag_run.task_instances(client, run_id).items()}


@pytest.fixture(scope="module")
def whole_run(platform: Platform, client: httpx.Client, readings: int) -> dict[str, Any]:
    """States and results of the tasks of a run of all steps."""
    contract = load_contract(platform.settings.sensors)
    run_id, conf = dag_run.trigger(client, contract, count=2)
    states = finish(client, run_id)
    results = {task: dag_run.xcom(client, run_id, task) for task in (*demo.RESULTS, "publish_data")}
    return {"states": states, "results": results, "conf": conf, "run_id": run_id}


def test_every_task_succeeds(whole_run) -> None:
    assert set(whole_run["states"].values()) == {"success"}
    assert set(whole_run["states"]) >= {"publish_data", "publish_params", *demo.RESULTS}


def test_no_reading_vanishes(whole_run, readings: int) -> None:
    result = whole_run["results"]["preprocess"]
    assert result["rows_in"] == readings == result["rows"] + result["quarantined"]
    assert result["quarantined"] == sum(result["reasons"].values()) > 0.04 * readings


def test_the_dataset_is_published_with_its_parameters(platform: Platform, whole_run) -> None:
    version = versions.open_dataset(platform.settings, whole_run["conf"]["tag"])
    assert version.hash == whole_run["results"]["publish_data"]["hash"]
    assert version.params["params"] == whole_run["results"]["tune"]["params"]


def test_the_promoted_model_is_deployed_and_answers(platform: Platform, whole_run) -> None:
    results, settings = whole_run["results"], platform.settings
    assert results["promote"]["promoted"]
    assert (
        DeploymentStore(settings.deployments).pointer("plant").bento == results["deploy"]["bento"]
    )
    contract = load_contract(settings.sensors)
    answer = demo.predict(platform.url("serving"), "plant", contract, settings)
    assert 0 <= answer["score"] <= 1
    assert answer["model_version"] == results["train"]["model_version"]
    assert answer["data_tag"] == whole_run["conf"]["tag"]


def test_a_partial_run_skips_what_was_not_chosen(
    platform: Platform, client: httpx.Client, whole_run
) -> None:
    contract = load_contract(platform.settings.sensors)
    steps, tag = ["train", "test"], whole_run["conf"]["tag"]
    run_id, _ = dag_run.trigger(client, contract, steps=steps, tag=tag, run_name="again")
    states = finish(client, run_id)
    ran = {"check_inputs", "choose_steps", "summary", *steps}
    assert {task for task, state in states.items() if state == "success"} == ran
    assert {state for task, state in states.items() if task not in ran} == {"skipped"}
    assert dag_run.xcom(client, run_id, "train")["params_tag"] == f"{tag}-params-1"


def test_what_cannot_be_had_fails_in_the_first_task(
    platform: Platform, client: httpx.Client, readings: int
) -> None:
    contract = load_contract(platform.settings.sensors)
    run_id, _ = dag_run.trigger(client, contract, steps=["train"], tag="nowhere")
    states = finish(client, run_id)
    assert states.pop("check_inputs") == "failed"
    assert set(states.values()) == {"upstream_failed"}
    failure = str(dag_run.failure(client, platform, run_id))
    assert failure.startswith("The task check_inputs failed: ")
    assert "Correct the field 'tag': " in failure
    assert "'nowhere'" in failure


def test_a_platform_restored_elsewhere_answers_with_the_same_model_and_lineage(
    platform: Platform, whole_run, tmp_path: Path
) -> None:
    """The backup is made beside the running platform."""
    back_up(platform.settings, tmp_path / "backup.tar.gz")
    new = Settings(home=tmp_path / "another place", sensors=platform.settings.sensors)
    restore(new, tmp_path / "backup.tar.gz")
    contract = load_contract(new.sensors)
    told = ("score", "alarm", "threshold", "model_version", "data_tag", "why")
    answers, origins = [], []
    with Platform(new) as restored:
        for each, settings in ((platform, platform.settings), (restored, new)):
            answer = demo.predict(each.url("serving"), "plant", contract, settings)
            answers.append([answer.get(name) for name in told])
            reached = settings.model_copy(update={"mlflow_url": each.url("mlflow")})
            origins.append(lineage.trace(reached, f"plant/{answer['model_version']}"))
        with restored.airflow() as client:
            runs = client.get("/api/v2/dags/training/dagRuns").json()["dag_runs"]
    assert answers[0] == answers[1]
    assert origins[0] == origins[1]
    assert origins[0]["problems"] == []
    assert whole_run["run_id"] in [run["dag_run_id"] for run in runs]
