"""Pods of failed steps stay for as long as the setting says, and no other pod is touched."""

import json
import os

import pytest
from kubernetes.client import CoreV1Api

from breezeway_airflow.pod import STEP_LABEL, PodStep
from tests.cluster.conftest import image, wait_until


@pytest.fixture
def step(namespace: str, monkeypatch: pytest.MonkeyPatch) -> PodStep:
    extra = {"kube_config_path": os.environ["KUBECONFIG"], "namespace": namespace}
    monkeypatch.setenv(
        "AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps({"conn_type": "kubernetes", "extra": extra})
    )
    return PodStep(task_id="probe", arguments={})


def test_a_failed_pod_is_kept_and_deleted_in_time(
    kube: CoreV1Api, namespace: str, step: PodStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = {"name": "base", "image": image("preprocess"), "command": ["false"]}
    labels = {"failed": {STEP_LABEL: "probe"}, "of-another": {}}
    for name, own in labels.items():
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,  # a new namespace has none yet
            "containers": [container],
        }
        pod = {"metadata": {"name": name, "labels": own}, "spec": spec}
        kube.create_namespaced_pod(namespace, pod)

    def names() -> set[str]:
        return {pod.metadata.name for pod in kube.list_namespaced_pod(namespace).items}

    def failed():
        pod = kube.read_namespaced_pod("failed", namespace)
        return pod.status.phase == "Failed" and pod

    pod = wait_until(failed)
    monkeypatch.setenv("BREEZEWAY_KEEP_FAILED_PODS_SECONDS", "3600")
    step._put_away(pod, failed=True)
    step._delete_kept_pods(namespace)
    assert names() == {"failed", "of-another"}
    monkeypatch.setenv("BREEZEWAY_KEEP_FAILED_PODS_SECONDS", "0.1")
    step._delete_kept_pods(namespace)
    wait_until(lambda: names() == {"of-another"})
    kube.delete_namespaced_pod("of-another", namespace)
