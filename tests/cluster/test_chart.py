"""The chart's own parts, installed: MLflow, model servers, workspace, settings, policies."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes import client

from breezeway.core.settings import Settings
from breezeway.deployment.store import DeploymentStore
from tests.cluster.conftest import PLANTED, image, wait_until
from tests.fixtures.chart import helm
from tests.fixtures.serving import add_deployment, examples_of, make_model

USER, PASSWORD = "keeper", f"{PLANTED}-mlflow"
SECRETS = {
    "breezeway-raw-store": {"BREEZEWAY_RAW_URL": f"mysql+pymysql://reader:{PLANTED}@db/plant"},
    "breezeway-mlflow-server": {
        # A percent sign has a meaning of its own in the file that MLflow reads it from.
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:////var/lib/breezeway/{PLANTED}%20.db",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": f"{PLANTED}-flask",
    },
    "breezeway-mlflow-client": {
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
    },
}
LOOK = """\
import json, os, pathlib
def writes(folder):
    try:
        pathlib.Path(folder, "chart-test").write_text("")
    except OSError:
        return False
    return True
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "raw": len(os.environ["BREEZEWAY_RAW_URL"]),
    "mlflow": os.environ["BREEZEWAY_MLFLOW_URL"],
    "password": "MLFLOW_TRACKING_PASSWORD" in os.environ,
    "writes": [f for f in ("/", "/opt/breezeway", "/tmp", "/var/lib/breezeway") if writes(f)],
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "object store": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize > 200 << 20,
}))
"""
"""What a step's pod looks like from inside."""


@pytest.fixture(scope="module")
def model(workspace: Path) -> Path:
    """A small model, deployed before there is a server. Returns its folder in the store."""
    store = DeploymentStore(Settings(home=workspace).deployments)
    pointer = add_deployment(store, "pump", 1, make_model(workspace / "pump"))
    store.point(pointer)
    return next(store.folder.glob("pump/1-*/model"))


@pytest.fixture(scope="module")
def options(namespace: str, volume: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the installation is told, small enough for one node."""
    project, tag = image("serving").rsplit("/serving:", 1)
    registry, _, project = project.rpartition("/")
    small = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}
    file = tmp_path_factory.mktemp("values") / "values.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "imageRegistry": registry,
                "image": {"project": project, "tag": tag},
                "workspace": {"size": "1Gi", "storageClass": volume},
                "serving": {"resources": small},
                "mlflow": {"resources": small, "workers": 1},
                "steps": {"common": {"resources": small}},
                "airflow": {"enabled": False},
            }
        )
    )
    return [f"--namespace={namespace}", f"--values={file}", "--wait", "--timeout=5m"]


@pytest.fixture(scope="module")
def release(
    kube: client.CoreV1Api, chart: Path, namespace: str, model: Path, options: list[str]
) -> str:
    for name, data in SECRETS.items():
        kube.create_namespaced_secret(namespace, {"metadata": {"name": name}, "stringData": data})
    done = helm("install", "breezeway", chart, *options)
    assert done.returncode == 0, done.stderr + _state(kube, namespace)
    return "breezeway"


def _state(kube: client.CoreV1Api, namespace: str) -> str:
    """What a person would look at."""
    lines = []
    for event in kube.list_namespaced_event(namespace).items:
        lines.append(f"{event.involved_object.name}: {event.message}")
    for pod in kube.list_namespaced_pod(namespace).items:
        lines.append(f"{pod.metadata.name}: {pod.status.phase}\n{_log(kube, pod)[-2000:]}")
    return "\n".join(lines)


def _log(kube: client.CoreV1Api, pod: client.V1Pod) -> str:
    try:
        return kube.read_namespaced_pod_log(pod.metadata.name, pod.metadata.namespace)
    except client.ApiException as error:
        return str(error.body)


def _pods(kube: client.CoreV1Api, namespace: str, component: str) -> list[client.V1Pod]:
    selector = f"app.kubernetes.io/component={component}"
    return kube.list_namespaced_pod(namespace, label_selector=selector).items


@pytest.fixture
def service(kube: client.CoreV1Api, namespace: str, release: str) -> Callable[..., httpx.Client]:
    """Makes clients of a service by its address in the cluster."""

    def make(name: str, **options: Any) -> httpx.Client:
        spec = kube.read_namespaced_service(f"{release}-{name}", namespace).spec
        url = f"http://{spec.cluster_ip}:{spec.ports[0].port}"
        return httpx.Client(base_url=url, timeout=30, trust_env=False, **options)

    return make


def test_claim_is_bound(kube: client.CoreV1Api, namespace: str, release: str):
    claim = kube.read_namespaced_persistent_volume_claim(f"{release}-workspace", namespace)
    assert (claim.status.phase, claim.spec.volume_name) == ("Bound", namespace)


def test_mlflow_asks_for_the_password(service: Callable[..., httpx.Client], namespace: str):
    host = {"Host": f"breezeway-mlflow.{namespace}:5000"}
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    with service("mlflow", headers=host) as http:
        assert http.get(path).status_code == 401
        assert http.get(path, auth=(USER, "wrong")).status_code == 401
        assert http.get(path, auth=(USER, PASSWORD)).status_code == 200
        other_name = http.get(path, auth=(USER, PASSWORD), headers={"Host": "evil.example"})
        assert other_name.status_code == 403


def test_mlflow_keeps_artifacts_on_the_workspace(
    service: Callable[..., httpx.Client], namespace: str, workspace: Path
):
    host = {"Host": f"breezeway-mlflow.{namespace}:5000"}
    with service("mlflow", headers=host, auth=(USER, PASSWORD)) as http:
        answer = http.post("/api/2.0/mlflow/experiments/create", json={"name": "plant"})
        number = answer.json()["experiment_id"]
        answer = http.post("/api/2.0/mlflow/runs/create", json={"experiment_id": number})
        uri = answer.json()["run"]["info"]["artifact_uri"]
        path = uri.removeprefix("mlflow-artifacts:/").lstrip("/")
        http.put(
            f"/api/2.0/mlflow-artifacts/artifacts/{path}/note.txt", content=b"kept"
        ).raise_for_status()
    assert (workspace / "mlflow-artifacts" / path / "note.txt").read_bytes() == b"kept"


def test_a_deleted_run_is_removed_for_good(
    kube: client.CoreV1Api,
    chart: Path,
    namespace: str,
    options: list[str],
    service: Callable[..., httpx.Client],
    workspace: Path,
):
    host = {"Host": f"breezeway-mlflow.{namespace}:5000"}
    with service("mlflow", headers=host, auth=(USER, PASSWORD)) as http:
        answer = http.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"})
        run = answer.json()["run"]["info"]
        path = run["artifact_uri"].removeprefix("mlflow-artifacts:/").lstrip("/")
        http.put(
            f"/api/2.0/mlflow-artifacts/artifacts/{path}/note.txt", content=b"old"
        ).raise_for_status()
        folder = workspace / "mlflow-artifacts" / path
        assert (folder / "note.txt").exists()
        http.post("/api/2.0/mlflow/runs/delete", json={"run_id": run["run_id"]}).raise_for_status()

        only = "--show-only=templates/mlflow.yaml"
        done = helm("template", "breezeway", chart, "--kube-version=1.20", only, *options)
        (job,) = (m for m in yaml.safe_load_all(done.stdout) if m["kind"] == "CronJob")
        spec = job["spec"]["jobTemplate"]["spec"]
        container = spec["template"]["spec"]["containers"][0]
        container["command"][-1] = container["command"][-1].replace("7d", "0d")
        batch = client.BatchV1Api(kube.api_client)
        batch.create_namespaced_job(namespace, {"metadata": {"name": "gc"}, "spec": spec})

        def ended() -> bool:
            status = batch.read_namespaced_job("gc", namespace).status
            return bool(status.succeeded or status.failed)

        wait_until(ended)
        (pod,) = kube.list_namespaced_pod(namespace, label_selector="job-name=gc").items
        assert pod.status.phase == "Succeeded", _log(kube, pod)
        assert PASSWORD not in _log(kube, pod)
        found = http.get("/api/2.0/mlflow/runs/get", params={"run_id": run["run_id"]})
    assert found.status_code == 404
    assert not (folder / "note.txt").exists()


def test_serving_answers(service: Callable[..., httpx.Client], model: Path):
    example = examples_of(model)[0]
    body = {"device": example["device"], "readings": example["readings"]}
    with service("serving") as http:
        answer = http.post("/v1/models/pump/predict", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["score"] == pytest.approx(example["score"], abs=1e-6)


def test_two_servers_run(kube: client.CoreV1Api, namespace: str, release: str):
    apps = client.AppsV1Api(kube.api_client)

    def two() -> bool:
        status = apps.read_namespaced_deployment(f"{release}-serving", namespace).status
        return status.ready_replicas == 2

    wait_until(two)


def test_a_steps_pod(kube: client.CoreV1Api, namespace: str, release: str, workspace: Path):
    text = kube.read_namespaced_config_map(f"{release}-pod-templates", namespace).data
    pod = yaml.safe_load(text["preprocess.yaml"])
    pod["metadata"]["name"] = "look"
    pod["spec"]["restartPolicy"] = "Never"
    # An image that is there anyway; what is looked at is the pod around it.
    pod["spec"]["containers"][0] |= {"image": image("serving"), "command": ["python", "-c", LOOK]}
    kube.create_namespaced_pod(namespace, pod)

    def phase() -> str:
        return kube.read_namespaced_pod("look", namespace).status.phase

    wait_until(lambda: phase() in ("Succeeded", "Failed"))
    # The client would turn JSON into Python's own notation.
    answer = kube.read_namespaced_pod_log("look", namespace, _preload_content=False)
    assert json.loads(answer.data) == {
        "user": [50000, 0],
        "raw": len(SECRETS["breezeway-raw-store"]["BREEZEWAY_RAW_URL"]),
        "mlflow": f"http://{release}-mlflow:5000",
        "password": False,
        "writes": ["/tmp", "/var/lib/breezeway"],
        "token": False,
        "object store": True,
    }
    assert (workspace / "chart-test").exists()
    kube.delete_namespaced_pod("look", namespace)


@contextmanager
def _load(http: httpx.Client, body: dict[str, Any]) -> Iterator[list[str]]:
    """Predictions all the while, each by a connection of its own. Gives what went wrong."""
    failures: list[str] = []
    count = 0
    over = threading.Event()

    def ask() -> None:
        nonlocal count
        while not over.is_set():
            count += 1
            try:
                answer = http.post(
                    "/v1/models/pump/predict", json=body, headers={"Connection": "close"}
                )
                if answer.status_code != 200:
                    failures.append(f"{answer.status_code} {answer.text}")
            except httpx.HTTPError as error:
                failures.append(repr(error))
            time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        over.set()
        for thread in threads:
            thread.join()
    print(f"{count} requests, {len(failures)} of them failed")
    assert count > 200


def test_an_upgrade_loses_no_request(
    kube: client.CoreV1Api,
    chart: Path,
    namespace: str,
    release: str,
    options: list[str],
    service: Callable[..., httpx.Client],
    model: Path,
):
    def names() -> set[str]:
        return {pod.metadata.name for pod in _pods(kube, namespace, "serving")}

    before = names()
    example = examples_of(model)[0]
    body = {"device": example["device"], "readings": example["readings"]}
    with service("serving") as http, _load(http, body) as failures:
        done = helm("upgrade", release, chart, *options, "--set=settings.threads=1")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: not before & names(), seconds=120)
    assert not failures


def test_no_secret_shows(kube: client.CoreV1Api, namespace: str, release: str):
    seen = [helm("get", "all", release, f"--namespace={namespace}").stdout]
    seen += [str(each.data) for each in kube.list_namespaced_config_map(namespace).items]
    seen += [str(each) for each in kube.list_namespaced_event(namespace).items]
    for pod in kube.list_namespaced_pod(namespace).items:
        seen += [str(pod), _log(kube, pod)]
    assert any("BREEZEWAY_HOME" in text for text in seen)
    assert [text for text in seen if PLANTED in text] == []


def test_uninstalling_leaves_nothing(kube: client.CoreV1Api, namespace: str, release: str):
    done = helm("uninstall", release, f"--namespace={namespace}", "--wait", "--timeout=3m")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not kube.list_namespaced_pod(namespace).items, seconds=120)
    lists = (
        kube.list_namespaced_service,
        kube.list_namespaced_config_map,
        kube.list_namespaced_persistent_volume_claim,
        kube.list_namespaced_service_account,
        client.AppsV1Api(kube.api_client).list_namespaced_deployment,
        client.AppsV1Api(kube.api_client).list_namespaced_replica_set,
        client.AutoscalingV1Api(kube.api_client).list_namespaced_horizontal_pod_autoscaler,
        client.NetworkingV1Api(kube.api_client).list_namespaced_network_policy,
    )
    left = {each.metadata.name for listed in lists for each in listed(namespace).items}
    assert left <= {"default", "kube-root-ca.crt"}
    assert set(SECRETS) <= {s.metadata.name for s in kube.list_namespaced_secret(namespace).items}
