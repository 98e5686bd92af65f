"""Fixtures of the tests on a real cluster: the one that KUBECONFIG names."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import yaml
from kubernetes import client, config

from breezeway.launcher import Platform
from breezeway.settings import Settings

ROOT = Path(__file__).parents[2]
PLANTED = "planted-secret-5f1d0c"
"""A secret's value that must appear nowhere."""


def image(component: str) -> str:
    """As `make images` names it."""
    return os.environ["BREEZEWAY_TEST_IMAGES"].format(component=component)


@pytest.fixture(scope="session")
def kube() -> client.CoreV1Api:
    """A client of the cluster."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    config.load_kube_config()
    return client.CoreV1Api()


@pytest.fixture(scope="session")
def machine(kube: client.CoreV1Api) -> str:
    """This machine's address as the cluster's pods reach it: where it reaches the API server from."""
    server = urlsplit(kube.api_client.configuration.host)
    with socket.create_connection((server.hostname, server.port or 443), timeout=10) as connection:
        return connection.getsockname()[0]


@pytest.fixture(scope="module")
def namespace(kube: client.CoreV1Api) -> Iterator[str]:
    """A namespace of the module's own, gone afterwards."""
    name = f"breezeway-test-{uuid4().hex[:6]}"
    kube.create_namespace({"metadata": {"name": name}})
    yield name
    kube.delete_namespace(name)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is the home of the platform here and the workspace of the pods there.

    Airflow runs as this user, the pods as user 50000 of group 0, so the group may write.
    """
    before = os.umask(0o002)
    home = tmp_path_factory.mktemp("workspace")
    for folder in (home, *list(home.parents)[:2]):
        folder.chmod(0o775)
    yield home
    os.umask(before)


class ClusterPlatform(Platform):
    """The platform on this machine, whose steps run as pods."""

    def __init__(self, home: Path, namespace: str, dags: Path | None = None, **variables: str):
        settings = Settings(
            home=home,
            raw_url=variables.pop("BREEZEWAY_RAW_URL", f"sqlite:///{home / 'raw.db'}"),
            sensors=ROOT / "include" / "sensors.toml",
        )
        super().__init__(settings, host="0.0.0.0")
        self._dags, self._variables = dags, variables
        self._connection = {
            "conn_type": "kubernetes",
            "extra": {"kube_config_path": os.environ["KUBECONFIG"], "namespace": namespace},
        }

    def _environment(self) -> dict[str, str]:
        dags = {"AIRFLOW__CORE__DAGS_FOLDER": str(self._dags)} if self._dags else {}
        return {
            **super()._environment(),
            **dags,
            **self._variables,
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(self._connection),
            "BREEZEWAY_POD_TEMPLATES": str(self.home / "pod-templates"),
            # Repositories of one user, read by the other.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
