"""A step as a pod of its own image, waited for without a worker."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import tenacity
import yaml
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import (
    TRANSIENT_CONNECTION_ERRORS,
    TRANSIENT_STATUS_CODES,
)
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import detect_pod_terminate_early_issues
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.triggers.base import TriggerEvent
from kubernetes.client import ApiException, V1ContainerStateTerminated, V1Pod
from kubernetes_asyncio.client import ApiException as AsyncApiException
from kubernetes_asyncio.client import CoreV1Api as AsyncCoreV1Api

from breezeway.core.errors import ServiceUnavailable, TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway_airflow.command import log_record, report_drift, step_options, step_result
from breezeway_airflow.links import ReportLink

CONTAINER = "base"
STEP_LABEL = "breezeway-step"
LOGGED_UNTIL = "breezeway/logged-until"
"""Annotation of a pod: the time of the last log line that has reached the task's log."""
START_SECONDS = 300
"""How long a scheduled pod may take to start: its image may have to be pulled."""
POLL_SECONDS = 1
PATIENCE_SECONDS = 120
"""How long the API server may be away when a step has ended."""
CLOCK_SKEW_SECONDS = 60
STREAM_SECONDS = 240
"""After which a stream of log lines is opened anew: a dead connection may look alive."""


class PodStep(KubernetesPodOperator):
    """The step's image with the step's arguments, as the pod template `<step>.yaml` says.

    The task waits in the triggerer, where the step's log lines are streamed into the task's
    log with their level. The termination message is the task's XCom; the exit code becomes the
    error of the tree that it stands for, which decides over a retry (`retry.RETRIES`).

    A pod outlives worker, scheduler and triggerer: whoever comes next takes it up again, also
    if it has ended meanwhile. So each attempt has one pod, and each pod one result.

    Args:
        arguments: option name → value; `run_name` is passed as `--run-name`. Templated.
            An option whose value is None or empty is left out.
        step: the step's name, where it is not the task's.
    """

    template_fields = ("arguments",)
    template_fields_renderers = {"arguments": "json"}  # noqa: RUF012 - Airflow's own convention
    operator_extra_links = (ReportLink(),)
    ui_color = "#e3f2fd"

    def __init__(self, *, arguments: dict[str, Any], step: str | None = None, **kwargs: Any):
        super().__init__(
            arguments=arguments,
            base_container_name=CONTAINER,
            deferrable=True,
            durable=True,
            do_xcom_push=False,
            **kwargs,
        )
        self.step = step or self.task_id
        self.labels = {STEP_LABEL: self.step}

    def execute(self, context: Context) -> NoReturn:
        """Start the pod, or find the one of an attempt that was cut off, and wait for it.

        Raises:
            UsageError: there is no template for the step, or Kubernetes refuses it.
            ServiceUnavailable: Kubernetes does not answer.
        """
        settings = Settings.from_environment()
        run = context["dag_run"]
        self.pod_template_dict = _template(settings, self.step)
        self.env_vars = {
            "BREEZEWAY_RESULT": "/dev/termination-log",
            "BREEZEWAY_RUN_ID": f"{run.dag_id}/{run.run_id}",
        }
        self.arguments = step_options(self.arguments)
        with _kubernetes_errors():
            super().execute(context)

    def get_or_create_pod(self, pod_request_obj: V1Pod, context: Context) -> V1Pod:
        """The pod of an attempt that was cut off, even one that has ended; else a new one."""
        self._delete_kept_pods(pod_request_obj.metadata.namespace)
        pod = self._get_pod_from_task_state_store(context) or self.find_pod(
            pod_request_obj.metadata.namespace, context
        )
        if pod is None or pod.metadata.deletion_timestamp:
            pod = self.pod_manager.create_pod(pod_request_obj)
        self._persist_pod_identity_to_task_state_store(context, pod)
        return pod

    def invoke_defer_method(
        self, last_log_time: datetime | None = None, context: Context | None = None
    ) -> NoReturn:
        deadline = None
        if self.execution_timeout is not None:
            deadline = (context["ti"].start_date + self.execution_timeout).timestamp()
        # No timeout of the deferral itself: it would leave the pod behind. The trigger keeps
        # the deadline.
        self.defer(
            trigger=PodTrigger(
                pod_name=self.pod.metadata.name,
                pod_namespace=self.pod.metadata.namespace,
                kubernetes_conn_id=self.kubernetes_conn_id,
                deadline=deadline,
            ),
            method_name="finish",
        )

    def finish(self, context: Context, event: dict[str, Any]) -> None:
        """Take the result of a pod that has ended, and delete the pod.

        Raises:
            BreezewayError: the one of the step's exit code, with the step's own sentence.
            TryAgain: the pod is gone, or it failed by no fault of the step.
            ServiceUnavailable: it did not start, or Kubernetes does not answer.
            AirflowTaskTimeout: the step took longer than the task's `execution_timeout`.
        """
        with _kubernetes_errors():
            self.pod = self._read_pod(event["name"], event["namespace"])
        keep = False
        try:
            ended = _terminated(self.pod)
            if ended is None:
                self._raise_problem(event)
            keep = ended.exit_code != 0
            context["ti"].xcom_push("image", self.pod.status.container_statuses[0].image_id)
            if ended.reason == "OOMKilled":
                raise UsageError(
                    f"The step {self.step} took more memory than the limit of its pod: "
                    f"{self.pod.spec.containers[0].resources.limits}. Raise the limit."
                )
            result = step_result(self.step, ended.exit_code, ended.message or "")
            # Before the pod goes: do_xcom_push would ask for a sidecar.
            context["ti"].xcom_push("return_value", result)
            report_drift(result)
        finally:
            if self.pod is not None:
                self._put_away(keep)

    @tenacity.retry(
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        wait=tenacity.wait_fixed(POLL_SECONDS),
        retry=tenacity.retry_if_exception(lambda error: _is_transient(error)),
        reraise=True,
    )
    def _read_pod(self, name: str, namespace: str) -> V1Pod | None:
        try:
            return self.hook.get_pod(name, namespace)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _raise_problem(self, event: dict[str, Any]) -> NoReturn:
        """Say why there is no result."""
        if event["problem"] == "timeout":
            raise AirflowTaskTimeout(
                f"The step {self.step} did not end within {self.execution_timeout}."
            )
        if event["problem"]:
            raise ServiceUnavailable(f"The pod {event['name']} {event['problem']}")
        if self.pod is None:
            raise TryAgain(f"The pod {event['name']} was deleted before the step ended.")
        status = self.pod.status
        raise TryAgain(
            f"The pod {event['name']} failed: {status.reason or status.phase}. "
            f"{status.message or ''}".rstrip()
        )

    def _put_away(self, failed: bool) -> None:
        """Mark the pod as done, so that no other attempt takes it up; delete or keep it."""
        self.patch_already_checked(self.pod, reraise=False)
        if failed and Settings.from_environment().keep_failed_pods_seconds > 0:
            self.log.info("The pod %s is kept.", self.pod.metadata.name)
            return
        try:
            self.pod_manager.delete_pod(self.pod)
        except (ApiException, *TRANSIENT_CONNECTION_ERRORS):
            # The result is there. The pod is marked, so a later step deletes it.
            self.log.exception("The pod %s could not be deleted.", self.pod.metadata.name)

    def _delete_kept_pods(self, namespace: str) -> None:
        """Delete the pods of earlier steps that were kept for long enough."""
        keep = timedelta(seconds=Settings.from_environment().keep_failed_pods_seconds)
        done = self.client.list_namespaced_pod(
            namespace, label_selector=f"{STEP_LABEL},{self.POD_CHECKED_KEY}=True"
        )
        for pod in done.items:
            ended = _terminated(pod)
            since = ended.finished_at if ended else pod.metadata.creation_timestamp
            if since + keep < datetime.now(UTC):
                self.pod_manager.delete_pod(pod)


class PodTrigger(KubernetesPodTrigger):
    """Waits for the end of a step's pod and streams its log lines, each once.

    How far they have got is noted at the pod, so that the triggerer that takes over from one
    that died goes on there.

    Args:
        deadline: Unix time at which the step has to be done.
    """

    def __init__(
        self,
        pod_name: str,
        pod_namespace: str,
        kubernetes_conn_id: str | None,
        deadline: float | None,
    ):
        super().__init__(
            pod_name=pod_name,
            pod_namespace=pod_namespace,
            trigger_start_time=datetime.now(UTC),
            base_container_name=CONTAINER,
            kubernetes_conn_id=kubernetes_conn_id,
        )
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{__name__}.{type(self).__name__}",
            {
                "pod_name": self.pod_name,
                "pod_namespace": self.pod_namespace,
                "kubernetes_conn_id": self.kubernetes_conn_id,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Give one event: the pod, and the `problem` where it did not come to its end."""
        problem = ""
        try:
            async with asyncio.timeout(self.deadline and self.deadline - time.time()):
                problem = await self._problem_of_start()
                if not problem:
                    await self._stream_logs()
        except TimeoutError:
            problem = "timeout"
        except AsyncApiException as error:
            problem = f"cannot be watched: {error.status} {error.reason}"
        self._fired_event = True
        yield TriggerEvent(
            {"name": self.pod_name, "namespace": self.pod_namespace, "problem": problem}
        )

    async def _pod(self) -> V1Pod | None:
        """The pod; None where there is none. An API server that is away is waited for."""
        said = False
        while True:
            try:
                return await self.hook.get_pod(self.pod_name, self.pod_namespace)
            except Exception as error:
                if getattr(error, "status", None) == 404:
                    return None
                if not _is_transient(error):
                    raise
                if not said:
                    self.log.warning("Kubernetes does not answer, waiting for it: %s", error)
                said = True
            await asyncio.sleep(POLL_SECONDS)

    async def _problem_of_start(self) -> str:
        """Wait until the pod has started; return what prevents that, or nothing."""
        pod = await self._pod()
        if pod is None or pod.status.phase != "Pending":
            return ""
        events = asyncio.create_task(self.pod_manager.watch_pod_events(pod, POLL_SECONDS))
        scheduled = None
        try:
            while pod is not None and pod.status.phase == "Pending":
                if _is_scheduled(pod):
                    scheduled = scheduled or time.monotonic()
                problem = detect_pod_terminate_early_issues(pod)
                if scheduled and time.monotonic() - scheduled > START_SECONDS:
                    problem = problem or _waiting_for(pod)
                if problem:
                    return f"does not start: {problem}"
                await asyncio.sleep(POLL_SECONDS / 2)
                pod = await self._pod()
        finally:
            events.cancel()
            with suppress(asyncio.CancelledError):
                await events
        return ""

    async def _stream_logs(self) -> None:
        """Stream until the container has ended and its last line is read."""
        pod = await self._pod()
        position = (pod.metadata.annotations or {}).get(LOGGED_UNTIL, "") if pod else ""
        level = logging.INFO
        while pod is not None:
            ended = _terminated(pod) or pod.status.phase in ("Succeeded", "Failed")
            async for lines in self._log_lines(position):
                for position, line in lines:  # noqa: B007 - the last one's time is needed
                    level, message = log_record(line, level)
                    self.log.log(level, "%s", message)
                await self._note(position)
            if ended:
                return
            await asyncio.sleep(POLL_SECONDS)
            pod = await self._pod()

    async def _log_lines(self, position: str) -> AsyncIterator[list[tuple[str, str]]]:
        """Follow the log behind a time; give lines as they come, each with its time.

        It ends where the container or the connection does.
        """
        since = None
        if position:
            # The API knows no exact time, and the clocks of node and triggerer may differ.
            passed = datetime.now(UTC) - datetime.fromisoformat(position)
            since = max(1, math.ceil(passed.total_seconds())) + CLOCK_SKEW_SECONDS
        rest = b""
        try:
            async with self.hook.get_conn() as connection:
                response = await AsyncCoreV1Api(connection).read_namespaced_pod_log(
                    self.pod_name,
                    self.pod_namespace,
                    container=CONTAINER,
                    follow=True,
                    timestamps=True,
                    since_seconds=since,
                    _preload_content=False,
                    _request_timeout=STREAM_SECONDS,
                )
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield _new_lines(lines, position)
            yield _new_lines([rest], position)
        except Exception as error:
            # Not started yet (400), gone (404), or away: the caller looks at the pod again.
            if not _is_transient(error) and getattr(error, "status", None) not in (400, 404):
                raise

    async def _note(self, position: str) -> None:
        """Note at the pod how far its log has been read."""
        try:
            async with self.hook.get_conn() as connection:
                await AsyncCoreV1Api(connection).patch_namespaced_pod(
                    self.pod_name,
                    self.pod_namespace,
                    {"metadata": {"annotations": {LOGGED_UNTIL: position}}},
                    _content_type="application/merge-patch+json",
                )
        except (AsyncApiException, *TRANSIENT_CONNECTION_ERRORS, TimeoutError) as error:
            # The step goes on, and so does its log: the next note stands for this one as well.
            self.log.warning("Another triggerer would repeat lines of this log: %s", error)


def _new_lines(lines: list[bytes], position: str) -> list[tuple[str, str]]:
    """Lines of a log behind a time, split into time and text. RFC 3339 in UTC sorts as text."""
    stamped = (line.decode(errors="replace").split(" ", 1) for line in lines if line)
    return [(stamp, text[0] if text else "") for stamp, *text in stamped if stamp > position]


def _template(settings: Settings, step: str) -> dict[str, Any]:
    path = settings.pod_templates / f"{step}.yaml"
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"There is no pod template for the step {step}: {error}. "
            "BREEZEWAY_POD_TEMPLATES names their folder."
        ) from None


def _terminated(pod: V1Pod | None) -> V1ContainerStateTerminated | None:
    """How the step's container ended; None where it runs, or left no trace."""
    for status in (pod and pod.status.container_statuses) or []:
        if status.name == CONTAINER:
            return status.state.terminated
    return None


def _is_scheduled(pod: V1Pod) -> bool:
    conditions = pod.status.conditions or []
    return any(c.type == "PodScheduled" and c.status == "True" for c in conditions)


def _waiting_for(pod: V1Pod) -> str:
    for status in pod.status.container_statuses or []:
        if waiting := status.state.waiting:
            return f"{waiting.reason}: {waiting.message or 'no message'}"
    return f"it was not running {START_SECONDS} s after a node was found"


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, (ApiException, AsyncApiException)):
        return error.status in TRANSIENT_STATUS_CODES
    return isinstance(error, (*TRANSIENT_CONNECTION_ERRORS, TimeoutError))


@contextmanager
def _kubernetes_errors() -> Iterator[None]:
    """Raise what the API server says as one of the error tree."""
    try:
        yield
    except ApiException as error:
        if _is_transient(error):
            raise ServiceUnavailable(
                f"Kubernetes answers {error.status} {error.reason}."
            ) from error
        raise UsageError(
            f"Kubernetes refuses the pod: {error.status} {error.reason}: {error.body}"
        ) from error
    except TRANSIENT_CONNECTION_ERRORS as error:
        raise ServiceUnavailable(f"Kubernetes does not answer: {error}") from error
