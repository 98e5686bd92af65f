"""The whole `training` DAG with a pod for each step, on the chart's own MLflow and model server.

Airflow runs on this machine. All else is reached over the network, but for the workspace.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes.client import CoreV1Api

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.laptop import dag_run, demo
from breezeway.laptop.processes import marked
from breezeway.readings import simulate
from tests.cluster.conftest import (
    PLANTED,
    SHARED_REPOSITORIES,
    ClusterPlatform,
    Runs,
    image,
    wait_until,
)
from tests.fixtures.chart import helm
from tests.fixtures.mariadb import PASSWORD as RAW_PASSWORD
from tests.fixtures.mariadb import start_mariadb

pytestmark = pytest.mark.timeout(900)

MLFLOW_USER, MLFLOW_PASSWORD = "keeper", f"{PLANTED}-mlflow"
SERVING_TOKEN = f"{PLANTED}-serving"
SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "3Gi"}}


@pytest.fixture(scope="module")
def raw_url(machine: str) -> Iterator[str]:
    """A raw store on this machine that the pods can reach."""
    with tempfile.TemporaryDirectory(prefix="bzdb", dir="/tmp") as folder:
        server = start_mariadb(Path(folder), machine)
        try:
            yield server.database("plant").url
        finally:
            server.kill()


@pytest.fixture(scope="module")
def release(
    kube: CoreV1Api,
    chart: Path,
    namespace: str,
    volume: str,
    raw_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    secrets = {
        "raw-store": {"BREEZEWAY_RAW_URL": raw_url},
        "mlflow-server": {
            "MLFLOW_BACKEND_STORE_URI": "sqlite:////var/lib/breezeway/mlflow.db",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": f"{PLANTED}-flask",
        },
        "mlflow-client": {
            "MLFLOW_TRACKING_USERNAME": MLFLOW_USER,
            "MLFLOW_TRACKING_PASSWORD": MLFLOW_PASSWORD,
        },
        "serving": {"BREEZEWAY_SERVING_TOKEN": SERVING_TOKEN},
        "serving-key": {"BREEZEWAY_SERVING_KEY": f"{PLANTED}-serving-key"},
    }
    for name, data in secrets.items():
        body = {"metadata": {"name": f"breezeway-{name}"}, "stringData": data}
        kube.create_namespaced_secret(namespace, body)
    project, tag = image("serving").rsplit("/serving:", 1)
    registry, _, project = project.rpartition("/")
    values = {
        "imageRegistry": registry,
        "image": {"project": project, "tag": tag},
        "workspace": {"size": "1Gi", "storageClass": volume},
        "secrets": {"serving": "breezeway-serving", "servingKey": "breezeway-serving-key"},
        "serving": {"resources": SMALL, "autoscaling": {"minReplicas": 2, "maxReplicas": 2}},
        # This machine knows MLflow by its address only.
        "mlflow": {"resources": SMALL, "workers": 1, "allowedHosts": ["*"]},
        "steps": {"common": {"resources": SMALL}, "tune": {"resources": SMALL}},
        "airflow": {"enabled": False},
    }
    file = tmp_path_factory.mktemp("values") / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    options = [f"--namespace={namespace}", f"--values={file}"]
    done = helm("install", "breezeway", chart, *options)
    assert done.returncode == 0, done.stderr
    yield "breezeway"
    done = helm("uninstall", "breezeway", f"--namespace={namespace}", "--wait", "--timeout=3m")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def urls(kube: CoreV1Api, namespace: str, release: str) -> dict[str, str]:
    """Addresses of the services, as this machine reaches them."""
    addresses = {}
    for name in ("mlflow", "serving"):
        spec = kube.read_namespaced_service(f"{release}-{name}", namespace).spec
        addresses[name] = f"http://{spec.cluster_ip}:{spec.ports[0].port}"
    return addresses


def write_templates(kube: CoreV1Api, namespace: str, release: str, workspace: Path) -> None:
    """The chart's pod templates, with the workspace at the path that it has here."""
    found = kube.read_namespaced_config_map(f"{release}-pod-templates", namespace).data
    for name, text in found.items():
        pod = yaml.safe_load(text)
        container = pod["spec"]["containers"][0]
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "workspace"]
        mount["mountPath"] = str(workspace)
        variables = {"BREEZEWAY_HOME": str(workspace), **SHARED_REPOSITORIES}
        container["env"] = [{"name": name, "value": text} for name, text in variables.items()]
        (workspace / "pod-templates" / name).write_text(yaml.safe_dump(pod))


@pytest.fixture(scope="module")
def platform(
    kube: CoreV1Api,
    namespace: str,
    release: str,
    urls: dict[str, str],
    raw_url: str,
    workspace: Path,
) -> Iterator[ClusterPlatform]:
    write_templates(kube, namespace, release, workspace)
    variables = {
        "BREEZEWAY_RAW_URL": raw_url,
        "BREEZEWAY_MLFLOW_URL": urls["mlflow"],
        "BREEZEWAY_SERVING_URL": urls["serving"],
        "MLFLOW_TRACKING_USERNAME": MLFLOW_USER,
        "MLFLOW_TRACKING_PASSWORD": MLFLOW_PASSWORD,
    }
    with ClusterPlatform(workspace, namespace, variables) as platform:
        wait_until(lambda: httpx.get(f"{urls['mlflow']}/health", trust_env=False).is_success, 180)
        yield platform
    assert marked(workspace) == []


@pytest.fixture(scope="module")
def airflow(platform: ClusterPlatform) -> Iterator[httpx.Client]:
    with platform.airflow() as client:
        yield client


@pytest.fixture(scope="module")
def settings(platform: ClusterPlatform, raw_url: str) -> Settings:
    return Settings(
        home=platform.home,
        sensors=platform.settings.sensors,
        raw_url=raw_url,
        serving_token=SERVING_TOKEN,
    )


@pytest.fixture(scope="module")
def readings(settings: Settings) -> int:
    return simulate.fill(settings, devices=3, days=6, bad_share=0.05)["readings"]


def finish(client: httpx.Client, run_id: str, seconds: float = 800) -> dict[str, str]:
    """Wait for the end of a run; return the state of each task."""
    url = f"/api/v2/dags/training/dagRuns/{run_id}"
    wait_until(
        lambda: client.get(url).json()["state"] not in ("queued", "running"), seconds, every=1
    )
    return {name: task["state"] for name, task in dag_run.task_instances(client, run_id).items()}


@pytest.fixture(scope="module")
def whole_run(airflow: httpx.Client, settings: Settings, readings: int) -> dict[str, Any]:
    """States and results of the tasks of a run of all steps."""
    run_id, conf = dag_run.trigger(airflow, load_contract(settings.sensors), count=2)
    states = finish(airflow, run_id)
    results = {
        task: dag_run.xcom(airflow, run_id, task) for task in (*demo.RESULTS, "publish_data")
    }
    log = Runs(airflow, "training").log
    failed = [task for task, state in states.items() if state == "failed"]
    assert not failed, {task: log(run_id, task) for task in failed}
    return {"states": states, "results": results, "conf": conf, "run_id": run_id}


def test_every_task_succeeds(whole_run) -> None:
    assert set(whole_run["states"].values()) == {"success"}


def test_each_step_ran_in_its_own_image(airflow: httpx.Client, whole_run) -> None:
    runs = Runs(airflow, "training")
    steps = ("preprocess", "tune", "train", "test", "deploy")
    images = {runs.result(whole_run["run_id"], step, key="image") for step in steps}
    assert len(images) == len(steps)
    names = {step: runs.result(whole_run["run_id"], step, key="pod_name") for step in steps}
    assert all(step in name for step, name in names.items()), names


def test_no_reading_vanishes(whole_run, readings: int) -> None:
    result = whole_run["results"]["preprocess"]
    assert result["rows_in"] == readings == result["rows"] + result["quarantined"]


def test_the_dataset_is_published_with_its_parameters(settings: Settings, whole_run) -> None:
    version = versions.open_dataset(settings, whole_run["conf"]["tag"])
    assert version.hash == whole_run["results"]["publish_data"]["hash"]
    assert version.params["params"] == whole_run["results"]["tune"]["params"]


def test_the_deployed_model_answers_in_the_cluster(
    settings: Settings, urls: dict[str, str], whole_run
) -> None:
    answer = demo.predict(urls["serving"], "plant", load_contract(settings.sensors), settings)
    assert 0 <= answer["score"] <= 1
    assert answer["model_version"] == whole_run["results"]["train"]["model_version"]


def test_each_replica_serves_it_and_asks_for_the_token(
    kube: CoreV1Api, namespace: str, settings: Settings, whole_run
) -> None:
    version = whole_run["results"]["train"]["model_version"]
    served = [status["model_version"] for status in replicas(kube, namespace, settings)]
    assert served == [version] * 2
    anonymous = settings.model_copy(update={"serving_token": None})
    assert all("token" in answer["error"] for answer in replicas(kube, namespace, anonymous))


@pytest.fixture(scope="module")
def partial_run(airflow: httpx.Client, settings: Settings, whole_run) -> str:
    """A run of `train` and `test` alone."""
    contract, tag = load_contract(settings.sensors), whole_run["conf"]["tag"]
    run_id, _ = dag_run.trigger(
        airflow, contract, steps=["train", "test"], tag=tag, run_name="again"
    )
    return run_id


def test_a_partial_run_skips_what_was_not_chosen(airflow: httpx.Client, partial_run: str) -> None:
    states = finish(airflow, partial_run)
    ran = {"check_inputs", "choose_steps", "summary", "train", "test"}
    assert {task for task, state in states.items() if state == "success"} == ran
    assert {state for task, state in states.items() if task not in ran} == {"skipped"}


def test_a_trial_that_nobody_asks_ends_without_the_challenger(
    kube: CoreV1Api, namespace: str, airflow: httpx.Client, settings: Settings, partial_run: str
) -> None:
    version = Runs(airflow, "training").result(partial_run, "train")["model_version"]
    runs = Runs(airflow, "canary")
    form = {"model_name": "plant", "model_version": version, "mode": "shadow", "minutes": 1}
    run_id = runs.start(**form)
    assert runs.end(run_id, "put_on_trial", 180)["state"] == "success", runs.log(
        run_id, "put_on_trial"
    )
    on_trial = [
        status["challenger"]["model_version"] for status in replicas(kube, namespace, settings)
    ]
    assert on_trial == [version] * 2
    assert runs.end(run_id, "withdraw", 300)["state"] == "success"
    result = runs.result(run_id, "watch")
    assert (result["decision"], result["replicas"]) == ("roll back", 2)
    assert "Too little was seen" in result["reason"]
    assert runs.task(run_id, "deploy")["state"] == "skipped"
    wait_until(lambda: not any(s["challenger"] for s in replicas(kube, namespace, settings)))


def replicas(kube: CoreV1Api, namespace: str, settings: Settings) -> list[dict[str, Any]]:
    """What each model server says of the plant's model."""
    label = "app.kubernetes.io/component=serving"
    pods = kube.list_namespaced_pod(namespace, label_selector=label).items
    urls = [f"http://{pod.status.pod_ip}:3000/v1/models/plant" for pod in pods]
    headers = settings.serving_headers
    return [httpx.get(url, headers=headers, trust_env=False).json() for url in urls]


def test_a_bad_query_fails_with_its_sentence(
    airflow: httpx.Client, settings: Settings, whole_run
) -> None:
    contract = load_contract(settings.sensors)
    query = "SELECT device, time, payload FROM nowhere"
    run_id, _ = dag_run.trigger(airflow, contract, steps=["preprocess"], query=query)
    assert finish(airflow, run_id)["preprocess"] == "failed"
    log = Runs(airflow, "training").log(run_id, "preprocess")
    assert any(level == "error" and "nowhere" in text for level, text in log), log
    assert Runs(airflow, "training").task(run_id, "preprocess")["try_number"] == 1


def test_no_pod_and_no_secret_is_left(
    kube: CoreV1Api, namespace: str, airflow: httpx.Client, workspace: Path, whole_run
) -> None:
    steps = kube.list_namespaced_pod(namespace, label_selector="breezeway-step").items
    assert [pod.metadata.name for pod in steps] == []
    secrets = (PLANTED, RAW_PASSWORD)
    for path in (workspace / "logs").rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert not [secret for secret in secrets if secret in text], path
    base = "/api/v2/dags/training/dagRuns"
    for task in airflow.get(f"{base}/~/taskInstances").json()["task_instances"]:
        url = f"{base}/{task['dag_run_id']}/taskInstances/{task['task_id']}/xcomEntries"
        seen = str(task) + airflow.get(url).text
        assert not [secret for secret in secrets if secret in seen], task["task_id"]
    templates = [str(each.data) for each in kube.list_namespaced_config_map(namespace).items]
    assert not [text for text in templates if any(secret in text for secret in secrets)]
