"""A step as a pod: its result, its log, its errors, and one pod an attempt.

On a server that answers what a real API server answered; pods are processes of this machine. It
also is what fails when a new version of Airflow's Kubernetes provider works differently.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from logging import LogRecord
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.providers.cncf.kubernetes.utils.pod_manager import AsyncPodManager
from airflow.sdk import DAG
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.definitions.context import Context
from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferred
from airflow.triggers.base import BaseTrigger

from breezeway.core.errors import (
    DataError,
    InternalError,
    ServiceUnavailable,
    TryAgain,
    UsageError,
)
from breezeway_airflow import pod_trigger
from breezeway_airflow.pod import PodStep
from breezeway_airflow.pod_trigger import LOGGED_UNTIL, PodTrigger
from breezeway_airflow.retry import RETRIES
from tests.fixtures import ROOT
from tests.fixtures.kubernetes import NAMESPACE, Cluster, serve, stamp

PROBE = ROOT / "tests" / "cluster" / "probe.py"
RESULT = 'printf \'{"rows": 3}\' > "$BREEZEWAY_RESULT"'


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that Airflow's connection `kubernetes_default` leads to."""
    with serve(tmp_path) as cluster:
        extra = {"kube_config_path": str(cluster.kubeconfig), "namespace": NAMESPACE}
        connection = json.dumps({"conn_type": "kubernetes", "extra": extra})
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", connection)
        monkeypatch.setenv("BREEZEWAY_POD_TEMPLATES", str(tmp_path))
        monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
        monkeypatch.setattr(pod_trigger, "POLL_SECONDS", 0.1)
        monkeypatch.setattr(pod_trigger, "SETTLE_SECONDS", 0)
        yield cluster


@pytest.fixture
def step(cluster: Cluster, tmp_path: Path) -> Callable[..., PodStep]:
    """Makes a step that runs a shell script in its pod."""

    def step(script: str, **arguments: Any) -> PodStep:
        limits = {"limits": {"memory": "300Mi"}}
        command = ["sh", "-c", script, "probe"]
        container = {"name": "base", "image": "breezeway/probe:1", "command": command}
        template = {"spec": {"containers": [{**container, "resources": limits}]}}
        (tmp_path / "probe.yaml").write_text(yaml.safe_dump(template))
        with DAG("a_dag"):
            return PodStep(task_id="probe", arguments=arguments, **RETRIES)

    return step


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LogRecord]]:
    """The task's log, as it grows."""
    records: list[LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    task_log = logging.getLogger("probe")
    task_log.setLevel(logging.INFO)
    for writer in (PodTrigger, AsyncPodManager):
        monkeypatch.setattr(writer, "log", task_log)
    task_log.addHandler(handler)
    yield records
    task_log.removeHandler(handler)


class Attempt:
    """An attempt of a task, with what Airflow gives it and what it leaves."""

    def __init__(self, task: PodStep, number: int = 1):
        self.task = task
        self.left: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}
        self.context: Context = {
            "dag": task.dag,
            "run_id": "manual__1",
            "dag_run": SimpleNamespace(dag_id="a_dag", run_id="manual__1"),
            "task_state_store": SimpleNamespace(
                get=self.kept.get, set=lambda key, value, retention: self.kept.update({key: value})
            ),
            "ti": SimpleNamespace(
                dag_id="a_dag",
                task_id=task.task_id,
                map_index=-1,
                try_number=number,
                max_tries=2,
                start_date=datetime.now(UTC),
                xcom_push=lambda key, value: self.left.update({key: value}),
            ),
        }

    def begin(self) -> PodTrigger:
        """Execute the task on the worker until it is deferred; the trigger as Airflow stores it."""
        with pytest.raises(TaskDeferred) as deferred:
            self.task.execute(self.context)
        assert deferred.value.method_name == "finish"
        return as_stored(deferred.value.trigger)

    def finish(self, event: dict[str, Any]) -> Any:
        """The result, when the task is taken up again by a worker."""
        self.task.resume_execution("finish", {"event": event}, self.context)
        return self.left["return_value"]

    def run(self) -> Any:
        return self.finish(wait(self.begin()))


def as_stored(trigger: BaseTrigger) -> PodTrigger:
    path, arguments = trigger.serialize()
    assert path == f"{PodTrigger.__module__}.{PodTrigger.__name__}"
    return PodTrigger(**json.loads(json.dumps(arguments)))


def wait(trigger: PodTrigger) -> dict[str, Any]:
    """The trigger's one event."""

    async def events() -> list[dict[str, Any]]:
        return [event.payload async for event in trigger.run()]

    (event,) = asyncio.run(events())
    return event


def until(file: Path) -> str:
    """A script that waits for a file."""
    return f"until test -e {file}; do sleep 0.05; done"


def is_retried(error: Exception) -> bool:
    decision = RETRIES["retry_policy"].evaluate(error, try_number=1, max_tries=2)
    return decision.action.value == "retry"


def lines(log: list[LogRecord]) -> list[str]:
    """What of the task's log the step has said."""
    return [r.getMessage() for r in log if r.getMessage().startswith(("line", "half"))]


def test_the_termination_message_is_the_result(cluster: Cluster, step) -> None:
    attempt = Attempt(step(f"{RESULT}; test \"$1\" = '--tag=v 1'", tag="v 1", run_name=""))
    assert attempt.run() == {"rows": 3}
    assert attempt.left["image"].startswith("sha256:")
    assert attempt.left["pod_name"] == cluster.created[0]
    assert cluster.pods == {}


def test_the_pod_is_the_templates_with_what_the_run_adds(cluster: Cluster, step) -> None:
    cluster.stay = "starting"
    Attempt(step("true", tag="v1")).begin()
    pod = cluster.only().manifest
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "breezeway/probe:1"
    assert container["args"] == ["--tag=v1"]
    assert container["resources"] == {"limits": {"memory": "300Mi"}}
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "BREEZEWAY_RESULT": "/dev/termination-log",
        "BREEZEWAY_RUN_ID": "a_dag/manual__1",
    }
    assert pod["spec"]["restartPolicy"] == "Never"
    labels = {"breezeway-step": "probe", "dag_id": "a_dag", "task_id": "probe", "try_number": "1"}
    assert pod["metadata"]["labels"].items() >= labels.items()


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (DataError, False),
        (UsageError, False),
        (InternalError, False),
        (ServiceUnavailable, True),
        (TryAgain, True),
    ],
)
def test_the_exit_code_is_the_error_and_decides_on_a_retry(
    cluster: Cluster, step, error, retried
) -> None:
    """Of a real step in its frame."""
    attempt = Attempt(step(f'exec {sys.executable} {PROBE} "$@"', error=error.__name__))
    with pytest.raises(error, match=f"as told: {error.__name__}") as raised:
        attempt.run()
    assert is_retried(raised.value) == retried
    assert cluster.pods == {}


@pytest.mark.parametrize(
    ("script", "error", "sentence"),
    [
        ("true", InternalError, "exited with 0 but left no result"),
        ("exit 3", InternalError, "failed with exit code 3"),
        ("kill -9 $$", TryAgain, r"ended by signal 9 \(SIGKILL\)"),
    ],
)
def test_an_end_that_is_no_error_of_the_tree(cluster: Cluster, step, script, error, sentence):
    with pytest.raises(error, match=sentence):
        Attempt(step(script)).run()
    assert cluster.pods == {}


def test_too_little_memory_is_said_with_the_limit(cluster: Cluster, step) -> None:
    attempt = Attempt(step("sleep 60"))
    trigger = attempt.begin()
    cluster.wait_for(lambda: cluster.only().state == "running")
    cluster.end("out_of_memory")
    with pytest.raises(UsageError, match=r"more memory than the limit.*300Mi"):
        attempt.finish(wait(trigger))


def test_a_pod_that_the_node_puts_out_is_tried_again(cluster: Cluster, step) -> None:
    attempt = Attempt(step("sleep 60"))
    trigger = attempt.begin()
    cluster.wait_for(lambda: cluster.only().state == "running")
    cluster.end("evicted")
    with pytest.raises(TryAgain, match=r"failed: Evicted\. Usage of EmptyDir volume"):
        attempt.finish(wait(trigger))
    assert cluster.pods == {}


def test_a_pod_deleted_by_hand_is_tried_again(cluster: Cluster, step) -> None:
    attempt = Attempt(step("sleep 60"))
    trigger = attempt.begin()
    cluster.delete(cluster.wait_for(lambda: cluster.only().state == "running" and cluster.only()))
    with pytest.raises(TryAgain, match="was deleted before the step ended"):
        attempt.finish(wait(trigger))


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [("quota", "403 .*exceeded quota: none"), ("invalid", "422 .*image: Required value")],
)
def test_a_pod_that_kubernetes_refuses_is_not_tried_again(
    cluster: Cluster, step, mistake, sentence
) -> None:
    cluster.refuse = mistake
    with pytest.raises(UsageError, match=f"Kubernetes refuses the pod: {sentence}"):
        step("true").execute(Attempt(step("true")).context)


def test_a_step_without_a_template_says_where_it_is_looked_for(cluster: Cluster, step) -> None:
    task = step("true")
    task.step = "nowhere"
    with pytest.raises(UsageError, match=r"no pod template for the step nowhere.*nowhere.yaml"):
        task.execute(Attempt(task).context)


def test_an_image_that_cannot_be_pulled_is_named(cluster: Cluster, step) -> None:
    cluster.stay = "backing_off"
    attempt = Attempt(step("true"))
    event = wait(attempt.begin())
    with pytest.raises(ServiceUnavailable, match='Back-off pulling image "breezeway/nowhere:1"'):
        attempt.finish(event)
    assert cluster.pods == {}


def test_a_pod_that_has_a_node_starts_in_time_or_never(cluster: Cluster, step, monkeypatch) -> None:
    monkeypatch.setattr(pod_trigger, "START_SECONDS", 0)
    cluster.stay = "starting"
    attempt = Attempt(step("true"))
    assert wait(attempt.begin())["problem"] == "does not start: ContainerCreating: no message"


def test_a_pod_without_a_node_is_waited_for_until_the_deadline(cluster: Cluster, step) -> None:
    cluster.stay = "unschedulable"
    task = step("true")
    task.execution_timeout = timedelta(seconds=1)
    attempt = Attempt(task)
    with pytest.raises(AirflowTaskTimeout, match="did not end within 0:00:01") as raised:
        attempt.run()
    assert not is_retried(raised.value)
    assert cluster.pods == {}


def test_the_events_of_the_start_are_in_the_log(cluster: Cluster, step, log) -> None:
    cluster.stay = "starting"
    trigger = Attempt(step(RESULT)).begin()

    async def read_events() -> None:
        running = asyncio.create_task(anext(trigger.run()))
        while not any("Started container base" in r.getMessage() for r in log):
            await asyncio.sleep(0.05)
        running.cancel()

    asyncio.run(read_events())
    said = " ".join(record.getMessage() for record in log)
    assert f"Successfully assigned steps/{cluster.only().name} to node1" in said


def test_a_running_pod_is_taken_up_by_the_next_attempt(cluster: Cluster, step, tmp_path) -> None:
    go_on = tmp_path / "go_on"
    script = f"{until(go_on)}; {RESULT}"
    Attempt(step(script)).begin()  # and then the worker died
    second = Attempt(step(script), number=2)
    trigger = second.begin()
    go_on.touch()
    assert second.finish(wait(trigger)) == {"rows": 3}
    assert len(cluster.created) == 1


def test_so_is_one_that_has_ended_meanwhile(cluster: Cluster, step) -> None:
    Attempt(step(RESULT)).begin()
    cluster.wait_for(lambda: cluster.only().ended)
    assert Attempt(step(RESULT), number=2).run() == {"rows": 3}
    assert len(cluster.created) == 1


def test_one_that_is_being_deleted_is_replaced(cluster: Cluster, step) -> None:
    cluster.stay = "starting"
    Attempt(step(RESULT)).begin()
    cluster.only().manifest["metadata"]["deletionTimestamp"] = "2026-11-28T12:00:00Z"
    Attempt(step(RESULT), number=2).begin()
    assert len(cluster.created) == 2
    Attempt(step(RESULT), number=3).begin()  # there are two, of which one is the right one
    assert len(cluster.created) == 2


def test_the_pod_of_another_run_is_nobodys(cluster: Cluster, step) -> None:
    cluster.stay = "starting"
    Attempt(step(RESULT)).begin()
    other = Attempt(step(RESULT))
    other.context["run_id"] = "manual__2"
    other.begin()
    mapped = Attempt(step(RESULT))
    mapped.context["ti"].map_index = 4
    mapped.begin()
    assert len(cluster.created) == 3


def test_a_failed_pod_is_kept_as_long_as_the_setting_says(
    cluster: Cluster, step, monkeypatch
) -> None:
    monkeypatch.setenv("BREEZEWAY_KEEP_FAILED_PODS_SECONDS", "3600")
    with pytest.raises(InternalError):
        Attempt(step("exit 1")).run()
    (failed,) = cluster.pods
    # Kept to be looked at, it is no attempt's any more.
    assert Attempt(step(RESULT), number=2).run() == {"rows": 3}
    assert list(cluster.pods) == [failed]
    monkeypatch.setenv("BREEZEWAY_KEEP_FAILED_PODS_SECONDS", "0.1")
    assert Attempt(step(RESULT)).run() == {"rows": 3}
    assert cluster.pods == {}


LINES = "for n in 1 2 3 4 5; do echo line $n; done"
SAID = [f"line {n}" for n in range(1, 6)]


def test_log_lines_come_while_the_step_runs_with_their_level(
    cluster: Cluster, step, tmp_path, log
) -> None:
    loud = 'echo "2026-11-21 12:00:00,123 WARNING half full"'
    attempt = Attempt(step(f"{loud}; {LINES}; {until(tmp_path / 'go_on')}; {RESULT}"))
    trigger = attempt.begin()

    async def go_on_when_all_is_said() -> dict[str, Any]:
        running = asyncio.create_task(anext(trigger.run()))
        while len(lines(log)) < 6:
            await asyncio.sleep(0.05)
        (tmp_path / "go_on").touch()
        return (await running).payload

    attempt.finish(asyncio.run(go_on_when_all_is_said()))
    assert lines(log) == ["half full", *SAID]
    levels = {r.getMessage(): r.levelname for r in log}
    assert levels["half full"] == levels["line 1"] == "WARNING"  # the second continues the first


def test_a_connection_that_breaks_costs_no_line_and_doubles_none(
    cluster: Cluster, step, log
) -> None:
    cluster.breaks = [2, 3]
    Attempt(step(f"{LINES}; {RESULT}")).run()
    assert lines(log) == SAID


def test_another_triggerer_goes_on_where_the_first_one_was(
    cluster: Cluster, step, tmp_path, log
) -> None:
    go_on = tmp_path / "go_on"
    attempt = Attempt(step(f"echo line 1; echo line 2; {until(go_on)}; echo line 3; {RESULT}"))
    first = attempt.begin()

    def last_line_at() -> str:
        return stamp(cluster.only().lines[-1][0], "nanoseconds")

    async def die_after_two_lines() -> None:
        running = asyncio.create_task(anext(first.run()))
        while len(lines(log)) < 2 or cluster.only().annotation(LOGGED_UNTIL) != last_line_at():
            await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(die_after_two_lines())
    go_on.touch()
    assert attempt.finish(wait(as_stored(first))) == {"rows": 3}
    assert lines(log) == ["line 1", "line 2", "line 3"]


def test_an_api_server_that_is_away_is_waited_for(cluster: Cluster, step, tmp_path, log) -> None:
    attempt = Attempt(step(f"echo line 1; {until(tmp_path / 'go_on')}; echo line 2; {RESULT}"))
    trigger = attempt.begin()

    async def go_away_for_a_while() -> dict[str, Any]:
        running = asyncio.create_task(anext(trigger.run()))
        while not lines(log):
            await asyncio.sleep(0.05)
        cluster.away = True
        (tmp_path / "go_on").touch()
        while "Kubernetes does not answer" not in log[-1].getMessage():
            await asyncio.sleep(0.05)
        cluster.away = False
        return (await running).payload

    assert attempt.finish(asyncio.run(go_away_for_a_while())) == {"rows": 3}
    assert lines(log) == ["line 1", "line 2"]


def test_a_worker_without_kubernetes_says_so_and_is_tried_again(
    cluster: Cluster, step, monkeypatch
) -> None:
    attempt = Attempt(step(RESULT))
    event = wait(attempt.begin())
    cluster.away = True
    monkeypatch.setattr(PodStep._read_pod.retry, "stop", lambda state: True)
    with pytest.raises(ServiceUnavailable, match="Kubernetes does not answer") as raised:
        attempt.finish(event)
    assert is_retried(raised.value)
    cluster.away = False
    assert Attempt(step(RESULT), number=2).run() == {"rows": 3}
    assert len(cluster.created) == 1


def test_marking_the_task_deletes_the_pod(cluster: Cluster, step) -> None:
    trigger = Attempt(step("sleep 60")).begin()
    cluster.wait_for(lambda: cluster.only().state == "running")
    asyncio.run(trigger.on_kill())
    assert cluster.pods == {}
    asyncio.run(trigger.on_kill())  # there is none any more


def test_a_killed_worker_deletes_the_pod(cluster: Cluster, step) -> None:
    """Between its start and the deferral."""
    cluster.stay = "starting"
    task = step("true")
    Attempt(task).begin()
    task.on_kill()
    assert cluster.pods == {}
