"""Publishing as tasks, on a real repository: a second attempt changes nothing."""

import json
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import DownstreamTasksSkipped

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway_airflow.dvc import PublishDataset, PublishDay, PublishParameters

CONTEXT = {"dag_run": SimpleNamespace(dag_id="training", run_id="manual__1")}


def test_data_and_parameters_are_published_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path / "home"))
    folder = tmp_path / "work" / "dataset"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"query": "SELECT 1"}))
    (tmp_path / "work" / "params.json").write_text("{}")

    data = PublishDataset(task_id="publish_data", folder=str(folder), tag="v1")
    params = PublishParameters(
        task_id="publish_params", params_file=str(tmp_path / "work" / "params.json"), tag="v1"
    )
    assert data.execute(CONTEXT) == data.execute(CONTEXT)
    assert params.execute(CONTEXT) == params.execute(CONTEXT)
    assert params.execute(CONTEXT)["tag"] == "v1-params-1"

    version = versions.find_version(Settings.from_environment(), "v1")
    assert version.message == "Airflow run training/manual__1"
    assert version.params_tag == "v1-params-1"

    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"query": "SELECT 2"}))
    with pytest.raises(UsageError, match="v1"):
        data.execute(CONTEXT)


class Instance:
    """What an operator asks of its task instance."""

    map_index = -1

    def __init__(self, made: dict) -> None:
        self._made = made
        self.pushed: dict = {}

    def xcom_pull(self, task: str) -> dict:
        return self._made

    def xcom_push(self, key: str, value: object) -> None:
        self.pushed[key] = value


def test_a_day_is_published_once_and_says_which_days_to_make_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path / "home"))
    folder = tmp_path / "work" / "dataset"
    folder.mkdir(parents=True)
    raw = {"rows": 7, "first_time": None, "last_time": None, "sha256": ""}
    manifest = {"contract": "plant", "query": "SELECT 1", "raw": raw, "rows": 7}
    manifest |= {"quarantined": 0, "reasons": {}, "features": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    made = {"day": "2026-03-01", "folder": str(folder), "rows_in": 7, "seconds": 2.5}
    with DAG("history"):
        publish = PublishDay(task_id="publish", made="p", skip_when_none_is_stale=["choose_stale"])
        publish >> EmptyOperator(task_id="choose_stale")

    def execute(**fields) -> dict:
        instance = Instance({**made, **fields})
        try:
            return publish.execute({**CONTEXT, "ti": instance})
        except DownstreamTasksSkipped as skip:
            assert skip.tasks == ["choose_stale"]
            return instance.pushed["return_value"]

    again = execute(stale={"2026-03-02": "the readings before it changed"})
    assert again["tag"] == "plant-day-20260301-1"
    assert execute(stale={}) == again
    assert execute(stale={}, rows_in=0, folder="nowhere") == {}
    version = versions.find_version(Settings.from_environment(), again["tag"])
    assert version.message == "Airflow run training/manual__1: 7 rows in 2.5 s"
