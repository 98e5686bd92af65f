"""Fixtures of the tests on a real cluster: the one that KUBECONFIG names."""

import json
import os
import socket
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from kubernetes import client, config

from breezeway.core.settings import Settings
from breezeway.laptop.platform import Platform

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
PLANTED = "planted-secret-5f1d0c"
"""In the secrets' values; must appear nowhere else."""


def image(component: str) -> str:
    """An image that `make images` built and the cluster has."""
    images = os.environ.get("BREEZEWAY_TEST_IMAGES", "breezeway")
    return f"{images}/{component}:{os.environ.get('TAG') or VERSION}"


def wait_until(condition: Callable[[], Any], seconds: float = 60, every: float = 0.2) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(every)
    return found


@pytest.fixture(scope="session")
def kube() -> client.CoreV1Api:
    """A client of the cluster."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    config.load_kube_config()
    return client.CoreV1Api()


@pytest.fixture(scope="session")
def machine(kube: client.CoreV1Api) -> str:
    """This machine's address for the pods: that from which it reaches the API server."""
    server = urlsplit(kube.api_client.configuration.host)
    with socket.create_connection((server.hostname, server.port or 443), timeout=10) as connection:
        return connection.getsockname()[0]


@pytest.fixture(scope="module")
def namespace(kube: client.CoreV1Api) -> Iterator[str]:
    """A namespace of the module's own, in which no pod may be left at the end."""
    name = f"breezeway-test-{uuid4().hex[:6]}"
    kube.create_namespace({"metadata": {"name": name}})
    yield name
    kube.delete_namespace(name)
    wait_until(lambda: not kube.list_namespaced_pod(name).items)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of the platform here, which is the workspace of the pods at the same path.

    Airflow runs as this user, the pods as user 50000 of group 0, so the group may write.
    """
    before = os.umask(0o002)
    home = tmp_path_factory.mktemp("workspace")
    home.chmod(0o775)
    (home / "pod-templates").mkdir()
    yield home
    os.umask(before)


@pytest.fixture(scope="module")
def volume(kube: client.CoreV1Api, namespace: str, workspace: Path) -> Iterator[str]:
    """A volume of a storage class of its own, which is the workspace's folder."""
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": namespace,
        "hostPath": {"path": str(workspace)},
    }
    kube.create_persistent_volume({"metadata": {"name": namespace}, "spec": spec})
    yield namespace
    kube.delete_persistent_volume(namespace)


SHARED_REPOSITORIES = {
    # Git refuses another user's repository. In an installation all run as the same user.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}


class ClusterPlatform(Platform):
    """The platform on this machine, whose steps run as pods of a namespace.

    Args:
        home: with the folder `pod-templates`.
        variables: further environment of Airflow.
    """

    mode = 0o775  # pods use it too, as another user

    def __init__(self, home: Path, namespace: str, variables: dict[str, str]):
        sensors = Settings.shipped_sensors / "plant.toml"
        extra = {"kube_config_path": os.environ["KUBECONFIG"], "namespace": namespace}
        pods = {
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(
                {"conn_type": "kubernetes", "extra": extra}
            ),
            "BREEZEWAY_POD_TEMPLATES": str(home / "pod-templates"),
            **SHARED_REPOSITORIES,
            **variables,
        }
        super().__init__(Settings(home=home, sensors=sensors), host="0.0.0.0", variables=pods)


class Runs:
    """Runs of a DAG: triggers them, waits for them, reads what they left."""

    def __init__(self, airflow: httpx.Client, dag_id: str):
        self._airflow, self._dag = airflow, f"/api/v2/dags/{dag_id}"
        wait_until(lambda: airflow.patch(self._dag, json={"is_paused": False}).is_success)

    def start(self, **conf: Any) -> str:
        answer = self._airflow.post(
            f"{self._dag}/dagRuns", json={"logical_date": None, "conf": conf}
        )
        assert answer.is_success, answer.text
        return answer.json()["dag_run_id"]

    def task(self, run: str, task: str = "probe") -> dict[str, Any]:
        return self._airflow.get(f"{self._dag}/dagRuns/{run}/taskInstances/{task}").json()

    def end(self, run: str, task: str = "probe", seconds: float = 120) -> dict[str, Any]:
        """The task, when it has ended."""
        return wait_until(
            lambda: (found := self.task(run, task))["state"] in ("success", "failed") and found,
            seconds,
        )

    def fail(self, run: str, task: str = "probe") -> None:
        """As the button "mark as failed" does."""
        url = f"{self._dag}/dagRuns/{run}/taskInstances/{task}"
        self._airflow.patch(url, json={"new_state": "failed"}).raise_for_status()

    def result(self, run: str, task: str = "probe", key: str = "return_value") -> Any:
        url = f"{self._dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{key}"
        return self._airflow.get(url, params={"deserialize": True}).json().get("value")

    def log(self, run: str, task: str = "probe", attempt: int = 1) -> list[tuple[str, str]]:
        """Level and text of each line of a task's log; errors with what was raised."""
        url = f"{self._dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        answer = self._airflow.get(url, headers={"Accept": "application/json"}).json()
        return [
            (
                line.get("level", ""),
                " ".join(
                    [line["event"], *(e["exc_value"] for e in line.get("error_detail") or ())]
                ),
            )
            for line in answer.get("content", [])  # none before the task has begun
        ]
