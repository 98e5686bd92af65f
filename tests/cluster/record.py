"""Record what a real API server says of a step's pod, for the tests that run without a cluster.

    KUBECONFIG=… python -m tests.cluster.record

writes `tests/fixtures/kubernetes.json`: a pod as it is created, its status in each state that it
can be in, the events of a start, lines of a log, and the refusals of the API server. Left out is
what the API server keeps for itself (`managedFields`), and replaced are the names of namespace,
image and registry.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from kubernetes import client, config, watch

from tests.fixtures import ROOT

RECORDED = ROOT / "tests" / "fixtures" / "kubernetes.json"
SECONDS = 90

SUCCEED = "echo one; echo two; printf '{\"rows\":3}' > /dev/termination-log"
FAIL = 'printf \'{"error":"as told","exit_code":65}\' > /dev/termination-log; exit 65'
EAT_MEMORY = "import sys; blocks = [bytearray(10 << 20) for _ in range(100)]"


class Recorder:
    """Makes pods in a namespace of its own and takes down what the API server says of them."""

    def __init__(self, image: str, namespace: str):
        self._api = client.CoreV1Api()
        self._image, self._namespace = image, namespace

    def pod(self, command: list[str], **spec: Any) -> dict[str, Any]:
        container = {"name": "base", "image": self._image, "command": command} | spec.pop(
            "container", {}
        )
        return {
            "metadata": {"name": f"probe-{uuid4().hex[:8]}", "labels": {"breezeway-step": "probe"}},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,  # a new namespace has none yet
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
                **spec,
            },
        }

    def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        return self._asked(self._api.create_namespaced_pod, self._namespace, pod)

    def read(self, pod: dict[str, Any]) -> dict[str, Any]:
        return self._asked(self._api.read_namespaced_pod, *self._names(pod))

    def events(self, pod: dict[str, Any]) -> list[dict[str, Any]]:
        """The events of a pod as a watch gives them."""
        stream = watch.Watch().stream(
            self._api.list_namespaced_event,
            self._namespace,
            field_selector=f"involvedObject.name={pod['metadata']['name']}",
            timeout_seconds=2,
        )
        return [_clean({"type": e["type"], "object": e["raw_object"]}) for e in stream]

    def log(self, pod: dict[str, Any], **options: Any) -> str:
        answer = self._api.read_namespaced_pod_log(
            *self._names(pod), container="base", _preload_content=False, **options
        )
        return answer.data.decode()

    def find(self, selector: str) -> dict[str, Any]:
        return self._asked(self._api.list_namespaced_pod, self._namespace, label_selector=selector)

    def wait(
        self, pod: dict[str, Any], condition: Callable[[dict[str, Any]], Any]
    ) -> dict[str, Any]:
        """The pod, as soon as a condition holds of its status."""
        deadline = time.monotonic() + SECONDS
        while not condition((found := self.read(pod))["status"]):
            if time.monotonic() > deadline:
                raise TimeoutError(json.dumps(found["status"], indent=1))
            time.sleep(0.05)
        return found

    def _names(self, pod: dict[str, Any]) -> tuple[str, str]:
        return pod["metadata"]["name"], self._namespace

    def _asked(self, ask: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        return _clean(json.loads(ask(*arguments, _preload_content=False, **options).data))


def _clean(thing: dict[str, Any]) -> dict[str, Any]:
    for part in (thing, thing.get("object", {}), *thing.get("items", [])):
        part.get("metadata", {}).pop("managedFields", None)
    return thing


def refusal(ask: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    """What the API server says when it refuses."""
    try:
        ask(*arguments, **options)
    except client.ApiException as error:
        return {"code": error.status, "body": json.loads(error.body)}
    raise AssertionError(f"{ask} was not refused")


def waiting(status: dict[str, Any]) -> str | None:
    for container in status.get("containerStatuses", []):
        return container["state"].get("waiting", {}).get("reason")
    return None


def record_states(recorder: Recorder) -> dict[str, Any]:
    """State → the pod's status in it; `pod` is a whole pod, as it was created."""
    states = {}
    pod = recorder.pod(["sh", "-c", f"sleep 3; {SUCCEED}"])
    created = recorder.create(pod)
    states["created"] = created["status"]
    states["starting"] = recorder.wait(pod, lambda s: waiting(s) == "ContainerCreating")["status"]
    states["running"] = recorder.wait(pod, lambda s: s["phase"] == "Running")["status"]
    states["succeeded"] = recorder.wait(pod, lambda s: s["phase"] == "Succeeded")["status"]
    failed = recorder.pod(["sh", "-c", FAIL])
    recorder.create(failed)
    states["failed"] = recorder.wait(failed, lambda s: s["phase"] == "Failed")["status"]
    nowhere = recorder.pod(["true"], container={"image": "breezeway/nowhere:1"})
    recorder.create(nowhere)
    for name, reason in (("unpullable", "ErrImagePull"), ("backing_off", "ImagePullBackOff")):
        states[name] = recorder.wait(nowhere, lambda s, r=reason: waiting(s) == r)["status"]
    homeless = recorder.pod(["true"], nodeSelector={"breezeway": "nowhere"})
    recorder.create(homeless)
    states["unschedulable"] = recorder.wait(homeless, lambda s: s.get("conditions"))["status"]
    hungry = recorder.pod(
        ["python", "-c", EAT_MEMORY],
        container={"resources": {"limits": {"memory": "60Mi"}, "requests": {"memory": "10Mi"}}},
    )
    recorder.create(hungry)
    states["out_of_memory"] = recorder.wait(hungry, lambda s: s["phase"] == "Failed")["status"]
    full = recorder.pod(
        ["sh", "-c", "head -c 30000000 /dev/zero > /full/file; sleep 60"],
        container={"volumeMounts": [{"name": "full", "mountPath": "/full"}]},
        volumes=[{"name": "full", "emptyDir": {"sizeLimit": "1Mi"}}],
    )
    recorder.create(full)
    states["evicted"] = recorder.wait(full, lambda s: s["phase"] == "Failed")["status"]
    return {
        "pod": created,
        "states": states,
        "log": recorder.log(pod, timestamps=True),
        "list": recorder.find("breezeway-step=nobody"),
        "events": recorder.events(pod),
    }


def record_refusals(api: client.CoreV1Api, recorder: Recorder, namespace: str) -> dict[str, Any]:
    """Mistake → the code and the body of the answer."""
    pod = recorder.pod(["sleep", "60"])
    recorder.create(pod)
    starting = refusal(api.read_namespaced_pod_log, pod["metadata"]["name"], namespace)
    invalid = recorder.pod(["true"], container={"image": ""})
    api.create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    )
    time.sleep(2)
    return {
        "not_found": refusal(api.read_namespaced_pod, "nobody", namespace),
        "log_not_found": refusal(api.read_namespaced_pod_log, "nobody", namespace),
        "log_of_starting": starting,
        "invalid": refusal(api.create_namespaced_pod, namespace, invalid),
        "quota": refusal(api.create_namespaced_pod, namespace, recorder.pod(["true"])),
    }


@contextmanager
def namespace_of_its_own(api: client.CoreV1Api) -> Iterator[str]:
    name = f"breezeway-record-{uuid4().hex[:6]}"
    api.create_namespace({"metadata": {"name": name}})
    time.sleep(1)
    try:
        yield name
    finally:
        api.delete_namespace(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", default="python:3.12-slim", help="with sh and python")
    arguments = parser.parse_args()
    config.load_kube_config()
    api = client.CoreV1Api()
    with namespace_of_its_own(api) as namespace:
        recorder = Recorder(arguments.image, namespace)
        recorded = record_states(recorder)
        recorded["refusals"] = record_refusals(api, recorder, namespace)
    text = json.dumps(recorded, indent=1).replace(namespace, "steps")
    text = text.replace(arguments.image, "breezeway/probe:1").replace("docker.io/library/", "")
    RECORDED.write_text(re.sub(r"[a-z0-9.-]*docker\.io", "registry.example", text) + "\n")


if __name__ == "__main__":
    main()
