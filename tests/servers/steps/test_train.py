"""Training on a published dataset, into a real MLflow."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from breezeway.core.errors import DataError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector import model
from breezeway.steps import train
from breezeway.tracking import load, mlflow_client, reports
from tests.fixtures import ROOT
from tests.fixtures.processes import new_port

PARAMS = {"max_depth": 3, "learning_rate": 0.2, "min_child_weight": 2.0}


def arguments(run_name: str, tag: str = "v1", name: str | None = None) -> argparse.Namespace:
    return argparse.Namespace(tag=tag, run_name=run_name, model_name=name)


@pytest.fixture(scope="module")
def settings(plant_home, mlflow_server) -> Settings:
    run_id = "training/manual_1"
    return Settings(home=plant_home, mlflow_url=mlflow_server, run_id=run_id, threads=1)


@pytest.fixture(scope="module")
def client(settings):
    return mlflow_client.client(settings)


@pytest.fixture(scope="module")
def first(settings) -> dict:
    """The result of a first training, with default parameters."""
    return train.run(arguments("first"), settings)


def test_result_names_the_version_and_its_figures(first):
    assert (first["model_name"], first["model_version"]) == ("mill", "1")
    assert (first["tag"], first["params_tag"]) == ("v1", None)
    assert 0 < first["threshold"] < 1
    metrics, baselines = first["metrics"], first["baselines"]
    assert set(baselines) == {"always_on", "clock_only", "random", "learned_clock"}
    assert metrics["average_precision"] > 0.6
    assert baselines["always_on"]["false_alarm_rate"] == 1
    assert first["beside_clock"] == ""
    assert all(metrics["average_precision"] > b["average_precision"] for b in baselines.values())
    # The first fold has no earlier one to choose its threshold on: it is not judged.
    assert metrics["events"] < 30
    assert len(json.dumps(first)) < 4096


def test_run_holds_the_record(first, client):
    run = client.get_run(first["run_id"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params["max_depth"] == str(model.DEFAULT_PARAMS["max_depth"])
    assert run.data.params["rounds"] == str(model.DEFAULT_ROUNDS)
    assert run.data.metrics["average_precision"] == pytest.approx(
        first["metrics"]["average_precision"], abs=1e-4
    )
    assert run.data.metrics["always_on/false_alarm_rate"] == 1
    assert 0 < run.data.metrics["brier"] < 0.2
    assert 0 < run.data.metrics["vus_pr"] < 1
    reports = {file.path for file in client.list_artifacts(first["run_id"], "reports")}
    assert reports == {
        f"reports/{name}"
        for name in (
            "alarm_reasons.png",
            "confusion_matrix.png",
            "delays.png",
            "feature_importance.png",
            "groups.png",
            "precision_recall.png",
            "quality.json",
            "reliability.png",
            "score_over_time.png",
            "scorecard.json",
            "scorecard.md",
            "scorecard.png",
            "threshold.png",
            "training_curves.png",
        )
    }


def test_files_of_the_run_are_reports(first, settings):
    run = reports.get(settings, first["run_id"])
    assert (run.step, run.model, run.airflow_run) == ("train", "mill/1", "training/manual_1")
    assert {"Scorecard", "Training curves"} <= {report.title for report in run.reports}
    for report in run.reports:
        with reports.open_report(settings, run, report.path) as content:
            assert content.read(8) == b"\x89PNG\r\n\x1a\n" or report.path.endswith(".json")


def test_dataset_version_is_an_input_of_the_run(first, client, settings):
    version = versions.find_version(settings, "v1")
    (given,) = client.get_run(first["run_id"]).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("v1", version.hash)
    columns = json.loads(given.dataset.schema)["mlflow_colspec"]
    assert [column["name"] for column in columns[-2:]] == ["torque_max", "label"]
    tags = {tag.key: tag.value for tag in given.tags}
    assert tags["mlflow.data.context"] == "training"
    assert tags["breezeway.data_commit"] == version.commit


def test_run_and_version_carry_the_lineage(first, client, settings):
    version = versions.find_version(settings, "v1")
    registered = client.get_model_version("mill", "1")
    expected = {
        "breezeway.data_tag": "v1",
        "breezeway.data_hash": version.hash,
        "breezeway.data_commit": version.commit,
        "breezeway.airflow_run": "training/manual_1",
    }
    assert expected.items() <= registered.tags.items()
    assert expected.items() <= client.get_run(first["run_id"]).data.tags.items()
    assert registered.tags["breezeway.run_id"] == registered.run_id == first["run_id"]
    assert float(registered.tags["breezeway.threshold"]) == first["threshold"]
    assert len(registered.tags["breezeway.code"]) >= 40


def test_registered_model_loads_and_scores_its_examples(first, settings):
    loaded = load.load(settings, "mill", "1")
    assert (loaded.name, loaded.version, loaded.data_tag) == ("mill", "1", "v1")
    assert loaded.threshold == first["threshold"]
    assert loaded.lineage["data_commit"] == versions.find_version(settings, "v1").commit
    for example in loaded.examples:
        assert len(example["readings"]) == loaded.contract.window
        features = np.array([example["features"]], dtype=float)
        assert loaded.score(features)[0] == example["score"]


def test_no_pickle_in_the_model(first, client):
    model_id = client.get_run(first["run_id"]).outputs.model_outputs[0].model_id
    files = {file.path for file in client.list_logged_model_artifacts(model_id)}
    assert "model.onnx" in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]


def test_an_alias_leads_to_a_version(first, settings, client):
    client.set_registered_model_alias("mill", "champion", first["model_version"])
    assert load.load(settings, "mill", "champion").version == first["model_version"]
    with pytest.raises(UsageError, match="'mill' has no version or alias 'nobody'"):
        load.load(settings, "mill", "nobody")
    with pytest.raises(UsageError, match="name=no-mill, version=1"):
        load.load(settings, "no-mill", "1")


def test_the_same_again_is_the_same_version_and_the_log_says_so(first, settings, client, caplog):
    with caplog.at_level("INFO", "breezeway"):
        again = train.run(arguments("first"), settings)
    assert again == first
    assert f"used again ({first['run_id']})" in caplog.text
    assert len(client.search_model_versions("name = 'mill'")) == 1


def test_another_run_name_gives_another_version_of_the_same_bytes(first, settings, client):
    other = train.run(arguments("second", name="other-mill"), settings)
    assert (other["model_name"], other["model_version"]) == ("other-mill", "1")
    assert other["run_id"] != first["run_id"]
    digests = {
        client.get_run(run_id).data.tags["breezeway.model_sha256"]
        for run_id in (first["run_id"], other["run_id"])
    }
    assert len(digests) == 1
    assert load.load(settings, "other-mill", "1").name == "other-mill"


def test_finished_but_not_registered_is_registered(first, settings, client):
    result = train.run(arguments("third", name="third-mill"), settings)
    client.delete_registered_model("third-mill")
    again = train.run(arguments("third", name="third-mill"), settings)
    assert again["run_id"] == result["run_id"]
    assert client.get_model_version("third-mill", "1").run_id == result["run_id"]


def test_tuned_parameters_are_used(settings, tmp_path, client, plant_dataset):
    (tmp_path / "params.json").write_text(json.dumps({"params": PARAMS, "rounds": 40}))
    home = tmp_path / "home"
    own = settings.model_copy(update={"home": home})
    versions.publish(own, plant_dataset, "v1")
    versions.publish_params(own, tmp_path, "v1")
    result = train.run(arguments("tuned", name="tuned-mill"), own)
    assert (result["tag"], result["params_tag"]) == ("v1", "v1-params-1")
    run = client.get_run(result["run_id"])
    assert run.data.params["max_depth"] == "3"
    assert run.data.params["rounds"] == "40"
    tags = client.get_model_version("tuned-mill", "1").tags
    assert tags["breezeway.params_tag"] == "v1-params-1"


def test_killed_while_logging_then_run_again(settings, client):
    """The run that kill -9 left behind as running is marked, and there is one version."""
    environment = {
        **os.environ,
        "BREEZEWAY_HOME": str(settings.home),
        "BREEZEWAY_MLFLOW_URL": settings.mlflow_url,
    }
    step = subprocess.Popen(
        [
            *(sys.executable, "-m", "breezeway.steps.train", "--tag", "v1"),
            *("--run-name", "killed", "--model-name", "killed-mill"),
        ],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    experiment = client.get_experiment_by_name("mill").experiment_id

    def runs() -> list:
        return client.search_runs([experiment], "attributes.run_name = 'killed'")

    deadline = time.monotonic() + 120
    while not runs() and step.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    step.send_signal(signal.SIGKILL)
    step.wait()
    assert [run.info.status for run in runs()] == ["RUNNING"]
    result = train.run(arguments("killed", name="killed-mill"), settings)
    assert result["model_version"] == "1"
    assert sorted(run.info.status for run in runs()) == ["FINISHED", "KILLED"]


@pytest.mark.timeout(60)  # its client would try for minutes
def test_mlflow_away_is_said_before_anything_is_done(plant_home):
    port = new_port()
    away = Settings(home=plant_home, mlflow_url=f"http://127.0.0.1:{port}")
    with pytest.raises(ServiceUnavailable, match=str(port)):
        train.run(arguments("away"), away)


def test_unknown_tag_is_a_usage_error(settings):
    with pytest.raises(UsageError, match="v9"):
        train.run(arguments("unknown", tag="v9"), settings)


def test_a_dataset_without_recorded_readings_is_refused(settings, tmp_path, plant_dataset):
    folder = tmp_path / "dataset"
    shutil.copytree(plant_dataset, folder)
    (folder / "examples.json").unlink()
    own = settings.model_copy(update={"home": tmp_path / "home"})
    versions.publish(own, folder, "bare")
    with pytest.raises(DataError, match=r"expected examples.json"):
        train.run(arguments("bare", tag="bare"), own)
