"""What a step needs of Airflow's Kubernetes provider beyond its documented interface.

The provider documents its pod operator by the arguments. What a step needs has none:

- **A pod that has ended is a result.** The next attempt of a task that was cut off deletes such a
  pod and runs the step again. `get_or_create_pod` is overridden.
- **Log lines while the step runs**, each once, with its level. The operator's own trigger shows
  none before the pod has ended, or lines without a level every so many seconds.
  `invoke_defer_method` is overridden, to hand over to a trigger of ours.
- **What keeps a pod from starting.** `detect_pod_terminate_early_issues` knows which waiting
  reasons are final, and `AsyncPodManager` writes the pod's events into the task's log.

`pyproject.toml` holds the provider at one version. `tests/servers/plugins/test_pod.py` runs all of
this against what a real API server answered, and fails if another version of the provider works
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
"""Labels by which the provider marks a pod as that of a task; a task may have no `map_index`."""


class OnePodOperator(KubernetesPodOperator):
    """Runs one pod an attempt, and takes up that of an attempt that was cut off.

    The task waits in the triggerer, by `pod_trigger`; the trigger's event goes to `finish`. Who
    has the result of a pod marks the pod by `patch_already_checked`: no attempt takes it up then.
    """

    @abstractmethod
    def pod_trigger(self, pod: V1Pod, context: Context) -> BaseTrigger:
        """The trigger that waits for the end of the pod."""

    @abstractmethod
    def finish(self, context: Context, event: dict[str, Any]) -> Any:
        """Called with the trigger's event."""

    def get_or_create_pod(self, pod_request_obj: V1Pod, context: Context) -> V1Pod:
        """The pod of an attempt that was cut off, even one that has ended; else a new one."""
        found = self._unfinished_pods(pod_request_obj)
        if not found:
            return self.pod_manager.create_pod(pod_request_obj)
        pod = max(found, key=lambda pod: pod.metadata.creation_timestamp)
        self.log.info("Taking up the pod %s of an earlier attempt.", pod.metadata.name)
        return pod

    def _unfinished_pods(self, like: V1Pod) -> list[V1Pod]:
        """This task's pods that nobody has taken the result of."""
        labels = like.metadata.labels
        names = [name for name in (*self.labels, *TASK_LABELS) if name in labels]
        wanted = [f"{name}={labels[name]}" for name in names]
        selector = ",".join([*wanted, f"{self.POD_CHECKED_KEY}!=True"])
        pods = self.client.list_namespaced_pod(like.metadata.namespace, label_selector=selector)
        return [pod for pod in pods.items if not pod.metadata.deletion_timestamp]

    def invoke_defer_method(
        self, last_log_time: datetime | None = None, context: Context | None = None
    ) -> NoReturn:
        assert context is not None  # the provider knows subclasses that take none
        # No timeout of the deferral itself: it would leave the pod behind.
        self.defer(trigger=self.pod_trigger(self.pod, context), method_name="finish")


def start_problem(pod: V1Pod) -> str | None:
    """What keeps a pod from ever starting, such as an image that cannot be pulled."""
    return detect_pod_terminate_early_issues(pod)


async def log_events(hook: AsyncKubernetesHook, pod: V1Pod, every: float) -> None:
    """Write a pod's events into the task's log until cancelled."""
    await AsyncPodManager(async_hook=hook).watch_pod_events(pod, every)
