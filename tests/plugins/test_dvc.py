"""Publishing as tasks, on a real repository: a second attempt changes nothing."""

import json
from types import SimpleNamespace

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard

from breezeway import datasets
from breezeway.errors import UsageError
from breezeway.settings import Settings
from breezeway_airflow.dvc import PublishDataset, PublishParameters

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

    version = datasets.find_version(Settings.from_environment(), "v1")
    assert version.message == "Airflow run training/manual__1"
    assert version.params_tag == "v1-params-1"

    (folder / "manifest.json").write_text(json.dumps({"query": "SELECT 2"}))
    with pytest.raises(UsageError, match="v1"):
        data.execute(CONTEXT)
