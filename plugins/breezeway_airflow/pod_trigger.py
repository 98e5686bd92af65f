"""Waits for the end of a step's pod, and streams its log into the log of the task."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from kubernetes_asyncio.client import ApiException, CoreV1Api, V1ContainerStateTerminated, V1Pod

from breezeway_airflow.command import log_record
from breezeway_airflow.kubernetes_errors import CONNECTION_ERRORS, is_not_found, is_transient
from breezeway_airflow.kubernetes_provider import log_events, start_problem

CONTAINER = "base"
"""Name of the step's container in its pod."""
LOGGED_UNTIL = "breezeway/logged-until"
"""Annotation of a pod: the time of its last line in the task's log."""
START_SECONDS = 300
"""How long a scheduled pod may take to start: a node may have to pull the image."""
POLL_SECONDS = 1
CLOCK_SKEW_SECONDS = 60
BROKEN_STREAMS = 5
"""How often the log of an ended pod is requested again after a broken connection."""
SETTLE_SECONDS = 5
"""No event comes sooner after the deferral. If the scheduler reads only after the event that the
deferring worker has ended, it plans another attempt (see `outcome`)."""
STREAM_SECONDS = 240
"""After this time a log stream is opened again: a dead connection can look alive."""


class PodTrigger(BaseTrigger):
    """Waits for the end of a step's pod and streams its log lines, each once.

    An annotation of the pod records the last line that was streamed. If the triggerer dies, the
    next one continues from there.

    Args:
        deadline: Unix time by which the step has to end.
    """

    def __init__(
        self,
        pod_name: str,
        pod_namespace: str,
        kubernetes_conn_id: str | None,
        deadline: float | None,
    ):
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's
        self.pod_name = pod_name
        self.pod_namespace = pod_namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.deadline = deadline
        self._position = ""
        self._level = logging.INFO

    @cached_property
    def hook(self) -> AsyncKubernetesHook:
        return AsyncKubernetesHook(conn_id=self.kubernetes_conn_id)

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
        """Yield one event: the pod, and a `problem` if it did not run to its end."""
        problem = ""
        settled = time.monotonic() + SETTLE_SECONDS
        try:
            async with asyncio.timeout(self.deadline and self.deadline - time.time()):
                problem = await self._problem_of_start()
                if not problem:
                    await self._stream_logs()
        except TimeoutError:
            problem = "timeout"
        except ApiException as error:
            problem = f"cannot be watched: {error.status} {error.reason}"
        await asyncio.sleep(settled - time.monotonic())
        event = {"name": self.pod_name, "namespace": self.pod_namespace, "problem": problem}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call] # Airflow's

    async def on_kill(self) -> None:
        """Delete the pod: a user has marked or cleared the task."""
        self.log.info("Deleting the pod %s.", self.pod_name)
        await self.hook.delete_pod(self.pod_name, self.pod_namespace)

    async def _pod(self) -> V1Pod | None:
        """The pod, or None. Waits while the API server is unreachable."""
        said = False
        while True:
            try:
                async with self._api() as api:
                    return await api.read_namespaced_pod(self.pod_name, self.pod_namespace)
            except Exception as error:
                if is_not_found(error):
                    return None
                if not is_transient(error):
                    raise
                if not said:
                    self.log.warning("Kubernetes does not answer, waiting for it: %s", error)
                said = True
            await asyncio.sleep(POLL_SECONDS)

    async def _problem_of_start(self) -> str:
        """Wait until the pod has started; return what prevents it, or an empty text."""
        pod = await self._pod()
        if pod is None or not is_pending(pod):
            return ""
        events = asyncio.create_task(log_events(self.hook, pod, POLL_SECONDS))
        scheduled = None
        try:
            while pod is not None and is_pending(pod):
                if is_scheduled(pod):
                    scheduled = scheduled or time.monotonic()
                problem = start_problem(pod)
                if scheduled and time.monotonic() - scheduled > START_SECONDS:
                    problem = problem or waiting_for(pod)
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
        """Stream until the container has ended and its last line has been read."""
        pod = await self._pod()
        if pod is not None:
            self._position = (pod.metadata.annotations or {}).get(LOGGED_UNTIL, "")
        broken = 0
        while pod is not None:
            ended = has_ended(pod)
            whole = await self._follow_log()
            if ended and (whole or broken == BROKEN_STREAMS):
                return
            broken += ended
            await asyncio.sleep(POLL_SECONDS)
            pod = await self._pod()

    async def _follow_log(self) -> bool:
        """Stream the log after `_position`; return False if the connection broke."""
        try:
            async for lines in self._log_lines():
                for self._position, line in lines:
                    self._level, message = log_record(line, self._level)
                    self.log.log(self._level, "%s", message)
                await self._note()
        except CONNECTION_ERRORS:
            return False
        except ApiException as error:
            # Not started (400) or gone (404): the caller reads the pod again.
            if error.status not in (400, 404) and not is_transient(error):
                raise
            return not is_transient(error)
        return True

    async def _log_lines(self) -> AsyncIterator[list[tuple[str, str]]]:
        """Follow the log after `_position` until the container ends; yield times and lines."""
        since = None
        if self._position:
            # The API takes whole seconds, and the clocks of node and triggerer may differ.
            passed = datetime.now(UTC) - datetime.fromisoformat(self._position)
            since = max(1, math.ceil(passed.total_seconds())) + CLOCK_SKEW_SECONDS
        rest = b""
        async with self._api() as api:
            read_log: Any = api.read_namespaced_pod_log  # typed as if it gave text alone
            response = await read_log(
                self.pod_name,
                self.pod_namespace,
                container=CONTAINER,
                follow=True,
                timestamps=True,
                since_seconds=since,
                _preload_content=False,
                _request_timeout=STREAM_SECONDS,
            )
            async with response:
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield new_lines(lines, self._position)
        yield new_lines([rest], self._position)

    async def _note(self) -> None:
        """Record at the pod how far its log has been streamed."""
        try:
            async with self._api() as api:
                await api.patch_namespaced_pod(
                    self.pod_name,
                    self.pod_namespace,
                    {"metadata": {"annotations": {LOGGED_UNTIL: self._position}}},
                )
        except (ApiException, *CONNECTION_ERRORS) as error:
            # Not fatal: the next record includes this one.
            self.log.warning("Another triggerer would repeat lines of this log: %s", error)

    @asynccontextmanager
    async def _api(self) -> AsyncIterator[CoreV1Api]:
        async with self.hook.get_conn() as connection:
            yield CoreV1Api(connection)


def new_lines(lines: list[bytes], position: str) -> list[tuple[str, str]]:
    """Lines of a log after a time, split into time and text. RFC 3339 in UTC sorts as text."""
    stamped = (line.decode(errors="replace").split(" ", 1) for line in lines if line)
    return [(stamp, text[0] if text else "") for stamp, *text in stamped if stamp > position]


def terminated(pod: V1Pod | None) -> V1ContainerStateTerminated | None:
    """How the step's container ended; None if it has not, or if its status is gone."""
    for status in (pod and pod.status.container_statuses) or []:
        if status.name == CONTAINER:
            return status.state.terminated
    return None


def has_ended(pod: V1Pod) -> bool:
    return terminated(pod) is not None or pod.status.phase in ("Succeeded", "Failed")


def is_pending(pod: V1Pod) -> bool:
    return pod.status.phase == "Pending"


def is_scheduled(pod: V1Pod) -> bool:
    conditions = pod.status.conditions or []
    return any(c.type == "PodScheduled" and c.status == "True" for c in conditions)


def waiting_for(pod: V1Pod) -> str:
    """Why a scheduled pod does not run."""
    for status in pod.status.container_statuses or []:
        if waiting := status.state.waiting:
            return f"{waiting.reason}: {waiting.message or 'no message'}"
    return f"it was not running {START_SECONDS} s after it was scheduled"
