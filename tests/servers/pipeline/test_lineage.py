"""Lineage over a real dataset repository, a real MLflow server and a deployment store."""

import json
from argparse import Namespace
from pathlib import Path
from uuid import uuid4

import pytest

from breezeway.commands import lineage as command
from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.deployment.store import Deployment, DeploymentStore
from breezeway.pipeline import lineage
from breezeway.tracking import champions, rest

MANIFEST = {
    "query": "SELECT device, time, payload\n  FROM readings",
    "raw": {
        "rows": 100,
        "first_time": "2026-01-01T00:00:00Z",
        "last_time": "2026-01-02T00:00:00Z",
        "sha256": "5eed",
    },
    "rows": 97,
    "quarantined": 3,
    "reasons": {"not_json": 2, "null": 1},
}


@pytest.fixture(scope="module")
def settings(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("lineage"), mlflow_url=mlflow_server)


@pytest.fixture(scope="module")
def data(settings: Settings) -> versions.DatasetVersion:
    """A version of the data, tuned once."""
    folder = settings.root / "source"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    tag = f"v-{uuid4().hex[:8]}"
    versions.publish(settings, folder, tag, "Airflow run training/r1")
    (settings.root / "params.json").write_text('{"rounds": 7}')
    return versions.publish_params(settings, settings.root, tag)


def register(settings: Settings, data: versions.DatasetVersion, **changed: str) -> str:
    """Register a champion trained on the data, with the keys that training writes."""
    name = f"pump-{uuid4().hex[:8]}"
    keys = {
        "data_tag": data.tag,
        "data_hash": data.hash,
        "data_commit": data.commit,
        "params_tag": data.params_tag,
        "airflow_run": "training/r1",
        "code": "c0de",
        **changed,
    }
    created = rest.post(
        settings, "runs/create", experiment_id="0", run_name="nightly", tags=as_tags(keys)
    )
    run = created["run"]["info"]
    rest.post(settings, "registered-models/create", name=name)
    rest.post(
        settings,
        "model-versions/create",
        name=name,
        run_id=run["run_id"],
        source=f"{run['artifact_uri']}/model",
        tags=as_tags({**keys, "run_id": run["run_id"]}),
    )
    champions.promote(settings, name, "1", None, "above chance")
    return name


def as_tags(keys: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": f"breezeway.{key}", "value": value} for key, value in keys.items()]


def deploy(settings: Settings, name: str) -> None:
    bento = settings.root / "bento"
    bento.mkdir(exist_ok=True)
    (bento / "model").touch()
    store = DeploymentStore(settings.deployments)
    record = Deployment(
        model_name=name,
        model_version="1",
        deployment=f"{name}-1",
        bento=f"{name}:1",
        data_tag="v",
        model_folder="model",
    )
    store.point(store.add(bento, record))


@pytest.mark.parametrize("signature", ["fedcba9876543210", ""], ids=["signed", "earlier"])
def test_from_a_prediction_to_the_rows(
    settings: Settings,
    data: versions.DatasetVersion,
    capsys: pytest.CaptureFixture[str],
    signature: str,
) -> None:
    name = register(settings, data)
    deploy(settings, name)
    prediction = f"{name}.1.0123456789abcdef{signature}"

    found = lineage.trace(settings, prediction)
    assert found["problems"] == []
    assert found["data"]["manifest"] == MANIFEST
    assert found["data"]["params"] == {"rounds": 7}
    assert found["run"]["name"] == "nightly"
    assert found["deployment"]["deployment"] == f"{name}-1"

    command.run(Namespace(what=prediction, json=False), settings)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"prediction {prediction}"
    assert lines[1].startswith(f"└─ model {name}/1 (champion), registered 20")
    said = [line.lstrip("│├└─ ") for line in lines]
    assert f"data {data.tag}, commit {data.commit}, hash {data.hash}" in said
    assert "query: SELECT device, time, payload FROM readings" in said
    assert "97 rows kept, 0 copies left out, 3 quarantined (2 not_json, 1 null)" in said
    assert "code c0de" in said and "Airflow run training/r1" in said
    assert any(line.startswith("promoted") and "above chance" in line for line in said)


def test_by_alias_and_as_json(
    settings: Settings, data: versions.DatasetVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    name = register(settings, data)
    command.run(Namespace(what=f"{name}/champion", json=True), settings)
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["version"] == "1" and found["deployment"] is None


def test_from_a_dataset_to_what_it_serves(
    settings: Settings, data: versions.DatasetVersion
) -> None:
    names = sorted(register(settings, data) for _ in range(2))
    deploy(settings, names[0])
    for what in (data.tag, data.params_tag):
        found = lineage.trace(settings, what)
        leads_to = found["data"]["leads_to"]
        assert leads_to["params_tags"] == [data.params_tag]
        models = {model["name"]: model for model in leads_to["models"]}
        assert models.keys() >= set(names)
        assert models[names[0]]["aliases"] == ["champion"]
        assert models[names[0]]["deployment"]["bento"] == f"{names[0]}:1"
        assert models[names[1]]["deployment"] is None
        assert models[names[0]]["run_id"] in {run["run_id"] for run in leads_to["runs"]}
        text = lineage.render(found)
        assert text.startswith(f"data {data.tag}, ") and f"as {names[0]}-1" in text


def test_stores_that_contradict_each_other(
    settings: Settings, data: versions.DatasetVersion
) -> None:
    name = register(settings, data, data_hash="other.dir")
    found = lineage.trace(settings, f"{name}/1")
    [problem] = found["problems"]
    assert f"trained on the data hash other.dir, but under '{data.params_tag}'" in problem
    assert lineage.render(found).endswith(f"! {problem}")


def test_one_store_away(settings: Settings, data: versions.DatasetVersion, tmp_path: Path) -> None:
    name = register(settings, data)
    no_git = settings.model_copy(update={"dataset_repository": str(tmp_path / "no" / "git")})
    found = lineage.trace(no_git, f"{name}/1")
    assert found["data"]["hash"] == data.hash
    assert "The dataset repository" in found["problems"][0]
    lineage.render(found)

    no_mlflow = settings.model_copy(update={"mlflow_url": "http://127.0.0.1:9"})
    found = lineage.trace(no_mlflow, data.tag)
    assert found["data"]["manifest"] == MANIFEST
    assert "MLflow does not answer" in found["problems"][0]
    lineage.render(found)
    with pytest.raises(ServiceUnavailable):
        lineage.trace(no_mlflow, f"{name}/1")


def test_a_dataset_that_is_gone(settings: Settings, data: versions.DatasetVersion) -> None:
    name = register(settings, data, params_tag="", data_tag="v0")
    found = lineage.trace(settings, f"{name}/1")
    assert found["data"]["tag"] == "v0" and "no dataset tag 'v0'" in found["problems"][0]


@pytest.mark.parametrize("what", ["nothing", "pump.1.0123456789abcdef", "pump/1", "pump/champion"])
def test_unknown(settings: Settings, data: versions.DatasetVersion, what: str) -> None:
    with pytest.raises(UsageError, match=r"nothing|pump"):
        lineage.trace(settings, what)
