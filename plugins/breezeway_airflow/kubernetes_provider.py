"""Uses parts of Airflow's Kubernetes provider that it does not document.

The provider documents the arguments of its pod operator. No argument gives what a step needs:

- **The result of a pod that has ended.** If a task was interrupted and its pod has ended meanwhile,
  the operator deletes the pod and runs the step again. So `get_or_create_pod` is overridden.
- **Log lines while the step runs**, each once, with its level. The operator's own trigger logs
  nothing before the pod has ended, or lines without a level at intervals. So `invoke_defer_method`
  is overridden, to wait by a trigger of our own.
- **Why a pod does not start.** `detect_pod_terminate_early_issues` knows which reasons are final,
  and `AsyncPodManager` writes the pod's events into the task's log.

`pyproject.toml` pins the provider. `tests/servers/plugins/test_pod.py` runs all of this against
recorded answers of a real API server, and fails if another version of the provider behaves
differently.
"""

from abc import abstractmethod
from datetime import datetime
from typing import Any, NoReturn

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    AsyncPodManager,
    detect_pod_terminate_early_issues,
)
from airflow.sdk import Context
from airflow.triggers.base import BaseTrigger
from kubernetes.client import V1Pod

TASK_LABELS = ("dag_id", "task_id", "run_id", "map_index")
"""Labels that the provider gives to the pod of a task; only a mapped task has a `map_index`."""


class OnePodOperator(KubernetesPodOperator):
    """Runs one pod per attempt, and resumes the pod of an attempt that was interrupted.

    The task is deferred to `pod_trigger`, whose event goes to `finish`. `finish` has to mark the
    pod with `patch_already_checked`, so that no later attempt resumes it.
    """

    @abstractmethod
    def pod_trigger(self, pod: V1Pod, context: Context) -> BaseTrigger:
        """A trigger that waits for the end of the pod."""

    @abstractmethod
    def finish(self, context: Context, event: dict[str, Any]) -> Any:
        """Handle the trigger's event."""

    def get_or_create_pod(self, pod_request_obj: V1Pod, context: Context) -> V1Pod:
        """The pod of an interrupted attempt, even if it has ended; else a new pod."""
        found = self.unfinished_pods(pod_request_obj)
        if not found:
            return self.pod_manager.create_pod(pod_request_obj)
        pod = max(found, key=lambda pod: pod.metadata.creation_timestamp)
        self.log.info("Resuming the pod %s of an earlier attempt.", pod.metadata.name)
        return pod

    def unfinished_pods(self, like: V1Pod) -> list[V1Pod]:
        """Pods of the same task whose result has not been taken."""
        labels = like.metadata.labels
        names = [name for name in (*self.labels, *TASK_LABELS) if name in labels]
        wanted = [f"{name}={labels[name]}" for name in names]
        selector = ",".join([*wanted, f"{self.POD_CHECKED_KEY}!=True"])
        pods = self.client.list_namespaced_pod(like.metadata.namespace, label_selector=selector)
        return [pod for pod in pods.items if not pod.metadata.deletion_timestamp]

    def invoke_defer_method(
        self, last_log_time: datetime | None = None, context: Context | None = None
    ) -> NoReturn:
        assert context is not None  # the provider always passes it to a method that takes it
        # Without a timeout: a deferral that times out would leave the pod behind.
        self.defer(trigger=self.pod_trigger(self.pod, context), method_name="finish")


def start_problem(pod: V1Pod) -> str | None:
    """Why a pod will never start, such as an image that cannot be pulled; None if it may start."""
    return detect_pod_terminate_early_issues(pod)


async def log_events(hook: AsyncKubernetesHook, pod: V1Pod, every: float) -> None:
    """Write a pod's events into the task's log until cancelled."""
    await AsyncPodManager(async_hook=hook).watch_pod_events(pod, every)
