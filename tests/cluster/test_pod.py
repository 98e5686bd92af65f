"""A step as a pod: its result, its log, its errors, and that it survives whoever waits for it."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from kubernetes.client import CoreV1Api, V1Pod

from breezeway.laptop.processes import marked
from tests.cluster.conftest import PLANTED, ClusterPlatform, Runs, image, wait_until

pytestmark = pytest.mark.timeout(400)

PROBE = Path(__file__).parent / "probe.py"
"""A step that does what it is told, run in the image of another."""


def template(workspace: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 50000, "runAsGroup": 0},
            "containers": [
                {
                    "name": "base",
                    "image": image("preprocess"),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", str(workspace / PROBE.name)],
                    "envFrom": [{"secretRef": {"name": "planted"}}],
                    "resources": {"limits": {"memory": "300Mi"}},
                    "securityContext": {"readOnlyRootFilesystem": True},
                    "volumeMounts": [{"name": "workspace", "mountPath": str(workspace)}],
                }
            ],
            "volumes": [{"name": "workspace", "hostPath": {"path": str(workspace)}}],
        },
    }


@pytest.fixture(scope="module")
def platform(kube: CoreV1Api, namespace: str, workspace: Path) -> Iterator[ClusterPlatform]:
    secret = {"metadata": {"name": "planted"}, "stringData": {"PLANTED": PLANTED}}
    kube.create_namespaced_secret(namespace, secret)
    shutil.copy(PROBE, workspace)
    (workspace / "pod-templates" / "probe.yaml").write_text(yaml.safe_dump(template(workspace)))
    variables = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
        # A worker that was killed is noticed soon.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        # As is a triggerer.
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
    }
    with ClusterPlatform(workspace, namespace, variables) as platform:
        yield platform
    assert marked(workspace) == []


@pytest.fixture(scope="module")
def airflow(platform: ClusterPlatform):
    with platform.airflow() as client:
        yield client


@pytest.fixture
def runs(airflow, pods) -> Iterator[Runs]:
    yield Runs(airflow, "probe")
    wait_until(lambda: not pods())  # whatever happened, no pod stays


@pytest.fixture(scope="module")
def pods(kube: CoreV1Api, namespace: str):
    """Lists the pods that there are."""

    def pods() -> list[V1Pod]:
        return kube.list_namespaced_pod(namespace).items

    return pods


def is_running(pods) -> list[V1Pod]:
    return [pod for pod in pods() if pod.status.phase == "Running"]


@pytest.fixture
def starts(tmp_path: Path, workspace: Path):
    """A file that gets a line for each start of the step, and a function that counts them."""
    file = workspace / f"{tmp_path.name}.txt"
    file.touch()
    file.chmod(0o666)

    class Starts:
        path = str(file)

        def count(self) -> int:
            return len(file.read_text().splitlines())

    return Starts()


def step_lines(log: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What of a task's log the step has said."""
    own = ("begun", "line ", "result ", "probe")
    return [(level, text) for level, text in log if text.startswith(own)]


def as_said(lines: int) -> list[str]:
    return ["begun", *(f"line {number}" for number in range(1, lines + 1))]


def test_result_and_log_lines_once_each(runs: Runs) -> None:
    run = runs.start(seconds=3)
    assert runs.end(run)["state"] == "success"
    result = runs.result(run)
    assert result["user"] == 50000 and result["secret_length"] == len(PLANTED)
    lines = step_lines(runs.log(run))
    assert [text for _, text in lines][:-2] == as_said(result["lines"])
    assert lines[0] == ("warning", "begun") and lines[1][0] == "info"
    assert "sha256:" in runs.result(run, key="image")


def test_bad_data_fails_at_once_with_the_steps_sentence(runs: Runs) -> None:
    task = runs.end(run := runs.start(error="DataError"))
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert ("error", "probe: as told: DataError") in runs.log(run)


def test_an_absent_service_is_tried_again(runs: Runs, starts) -> None:
    task = runs.end(runs.start(error="ServiceUnavailable", file=starts.path), seconds=300)
    assert (task["state"], task["try_number"]) == ("failed", 3)
    assert starts.count() == 3


def test_a_timeout_deletes_the_pod(airflow, runs: Runs, pods) -> None:
    short = Runs(airflow, "probe_short")
    run = short.start(seconds=300)
    wait_until(lambda: is_running(pods))
    assert short.end(run)["state"] == "failed"
    assert "did not end within 0:00:15" in str(short.log(run))


def test_marking_the_task_failed_deletes_the_pod(runs: Runs, pods) -> None:
    run = runs.start(seconds=300)
    wait_until(lambda: is_running(pods) and runs.task(run)["state"] == "deferred")
    runs.fail(run)
    wait_until(lambda: not pods(), 40)


def test_a_pod_deleted_by_hand_is_replaced(runs: Runs, pods, kube, namespace, starts) -> None:
    run = runs.start(seconds=8, file=starts.path)
    pod = wait_until(lambda: is_running(pods))[0]
    wait_until(lambda: starts.count() == 1)
    kube.delete_namespaced_pod(pod.metadata.name, namespace)
    task = runs.end(run)
    assert (task["state"], task["try_number"], starts.count()) == ("success", 2, 2)


def test_an_image_that_is_not_there_is_named(runs: Runs, platform, workspace: Path) -> None:
    file = workspace / "pod-templates" / "probe.yaml"
    good = file.read_text()
    try:
        file.write_text(good.replace(image("preprocess"), "breezeway/nowhere:1"))
        run = runs.start()
        wait_until(lambda: "breezeway/nowhere:1" in str(runs.log(run)))
    finally:
        file.write_text(good)
    # Another attempt has the image.
    assert runs.end(run)["state"] == "success"


def processes(workspace: Path, *words: str) -> list[psutil.Process]:
    """The platform's processes whose command line holds all the words."""
    found = []
    for process in marked(workspace):
        line = " ".join(process.cmdline())
        if all(word in line for word in words):
            found.append(process)
    return found


@pytest.mark.parametrize("part", ["triggerer", "scheduler"])
def test_a_killed_part_leaves_one_pod_and_one_result(
    runs: Runs, pods, workspace: Path, starts, part: str
) -> None:
    run = runs.start(seconds=20, file=starts.path)
    name = wait_until(lambda: is_running(pods))[0].metadata.name
    wait_until(lambda: runs.task(run)["state"] == "deferred" and starts.count())
    time.sleep(3)
    victims = processes(workspace, "airflow", part)
    assert victims
    for victim in victims:
        victim.kill()
    task = runs.end(run, seconds=200)
    assert (task["state"], starts.count()) == ("success", 1)
    assert runs.result(run, key="pod_name") == name
    result = runs.result(run)
    said = [text for _, text in step_lines(runs.log(run, attempt=task["try_number"]))][:-2]
    assert said == as_said(result["lines"])


@pytest.mark.parametrize("attempt", range(5))
def test_a_killed_worker_leaves_one_pod_and_one_result(
    runs: Runs, pods, workspace: Path, starts, attempt: int
) -> None:
    before = {process.pid for process in processes(workspace, "airflow")}
    run = runs.start(seconds=10, file=starts.path)
    name = wait_until(pods, every=0.02)[0].metadata.name  # made a moment ago, by this worker
    for worker in processes(workspace, "airflow"):
        if worker.pid not in before:
            worker.kill()
    task = runs.end(run, seconds=200)
    assert (task["state"], starts.count()) == ("success", 1)
    assert [task["try_number"], runs.result(run, key="pod_name")] == [task["try_number"], name]
    assert runs.result(run)["lines"] >= 18


def test_an_api_server_that_is_away_for_30_seconds(runs: Runs, pods, starts) -> None:
    servers = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "kube-apiserver"]
    if not servers:
        pytest.skip("the API server is no process of this machine")
    run = runs.start(seconds=15, file=starts.path)
    wait_until(lambda: is_running(pods))
    wait_until(lambda: runs.task(run)["state"] == "deferred")
    for server in servers:
        server.suspend()
    time.sleep(30)
    for server in servers:
        server.resume()
    task = runs.end(run, seconds=200)
    assert (task["state"], task["try_number"], starts.count()) == ("success", 1, 1)
    lines = step_lines(runs.log(run))
    assert [text for _, text in lines][:-2] == as_said(runs.result(run)["lines"])


def test_no_secret_is_anywhere(platform: ClusterPlatform, workspace: Path, airflow) -> None:
    """After all the runs above: logs, results, rendered fields, and Airflow's database."""
    for path in (workspace / "logs").rglob("*"):
        if path.is_file():
            assert PLANTED.encode() not in path.read_bytes(), path
    for dag_id in ("probe", "probe_short"):
        everything = f"/api/v2/dags/{dag_id}/dagRuns/~/taskInstances"
        tasks = airflow.get(everything).json()["task_instances"]
        assert tasks and PLANTED not in str(tasks)
        for task in tasks:
            url = f"/api/v2/dags/{dag_id}/dagRuns/{task['dag_run_id']}/taskInstances/probe"
            assert PLANTED not in airflow.get(f"{url}/xcomEntries").text
