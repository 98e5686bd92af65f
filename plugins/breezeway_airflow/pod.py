"""Runs a step as a pod of its own image, without occupying a worker."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import tenacity
import yaml
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowTaskTimeout
from kubernetes.client import ApiException, V1ContainerStateTerminated, V1Pod

from breezeway.core.errors import BreezewayError, ServiceUnavailable, TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway_airflow.command import report_drift, step_options, step_result
from breezeway_airflow.kubernetes_errors import (
    CONNECTION_ERRORS,
    is_not_found,
    is_transient,
    kubernetes_errors,
)
from breezeway_airflow.kubernetes_provider import OnePodOperator
from breezeway_airflow.links import ReportLink
from breezeway_airflow.outcome import recall, remember
from breezeway_airflow.pod_trigger import CONTAINER, POLL_SECONDS, PodTrigger, terminated

STEP_LABEL = "breezeway-step"
PATIENCE_SECONDS = 120
"""How long the API server may be unreachable when a step has ended."""


class PodStep(OnePodOperator):
    """Runs the pod template `<step>.yaml` with the step's arguments.

    The task waits in the triggerer, which streams the step's log lines into the task's log, with
    their level. The termination message is the task's XCom. The exit code becomes the error that it
    stands for, which decides on a retry (`retry.RETRIES`).

    The pod survives the death of worker, scheduler or triggerer. The next one resumes it, even if
    it has ended meanwhile. So each attempt has one pod, and each pod one result.

    Args:
        arguments: option name → value; `run_name` is passed as `--run-name`. Templated.
            An option whose value is None or empty is left out.
        step: the step's name, if it is not the task's id.
    """

    template_fields = ("arguments",)
    template_fields_renderers = {"arguments": "json"}  # noqa: RUF012 - Airflow's own convention
    operator_extra_links = (ReportLink(),)
    ui_color = "#e3f2fd"
    arguments: Any
    """The step's options; once the task is executed, the words of its command line."""

    def __init__(self, *, arguments: dict[str, Any], step: str | None = None, **kwargs: Any):
        super().__init__(
            base_container_name=CONTAINER,
            deferrable=True,
            do_xcom_push=False,
            **kwargs,
        )
        self.arguments = arguments
        self.step = step or self.task_id
        self.labels = {STEP_LABEL: self.step}

    def execute(self, context: Context) -> None:
        """Start the pod, or find that of an interrupted attempt, and wait for it.

        If the step has already ended, its result is taken over.

        Raises:
            BreezewayError: an earlier attempt ended with this error.
            UsageError: there is no template for the step, or Kubernetes refuses it.
            ServiceUnavailable: Kubernetes does not answer.
        """
        folder = Settings.from_environment().pod_templates
        if folder is None:
            raise UsageError("BREEZEWAY_POD_TEMPLATES names no folder of pod templates.")
        run = context["dag_run"]
        self.pod_template_dict = _template(folder, self.step)
        self.env_vars = {
            "BREEZEWAY_RESULT": "/dev/termination-log",
            "BREEZEWAY_RUN_ID": f"{run.dag_id}/{run.run_id}",
        }
        self.arguments = step_options(self.arguments)
        with kubernetes_errors():
            pods = self.unfinished_pods(self.build_pod_request_obj(context))
            if not pods and (earlier := recall(context)) is not None:
                context["ti"].xcom_push("return_value", earlier)
                report_drift(context, earlier)
                return
            super().execute(context)

    def get_or_create_pod(self, pod_request_obj: V1Pod, context: Context) -> V1Pod:
        self._delete_kept_pods(pod_request_obj.metadata.namespace)
        return super().get_or_create_pod(pod_request_obj, context)

    def pod_trigger(self, pod: V1Pod, context: Context) -> PodTrigger:
        deadline = None
        if self.execution_timeout is not None:
            deadline = (context["ti"].start_date + self.execution_timeout).timestamp()
        return PodTrigger(
            pod_name=pod.metadata.name,
            pod_namespace=pod.metadata.namespace,
            kubernetes_conn_id=self.kubernetes_conn_id,
            deadline=deadline,
        )

    def finish(self, context: Context, event: dict[str, Any]) -> None:
        """Take the result of a pod that has ended, and delete the pod.

        Raises:
            BreezewayError: the one of the step's exit code, with the step's message.
            TryAgain: the pod is gone, or failed for a reason outside the step.
            ServiceUnavailable: it did not start, or Kubernetes does not answer.
            AirflowTaskTimeout: the step took longer than the task's `execution_timeout`.
        """
        with kubernetes_errors():
            pod = self.pod = self._read_pod(event["name"], event["namespace"])
        ended = terminated(pod)
        try:
            if pod is None or ended is None:
                self._raise_problem(event, pod)
            image = pod.status.container_statuses[0].image_id
            context["ti"].xcom_push("image", image)
            result = remember(
                context,
                lambda: self._result(pod, ended),
                image=image,
                pod_name=pod.metadata.name,
            )
            # Pushed here: `do_xcom_push` would need a sidecar.
            context["ti"].xcom_push("return_value", result)
        except (BreezewayError, AirflowTaskTimeout):
            self._put_away(pod, failed=ended is not None)
            raise
        # After any other error Airflow has no result, and the next attempt takes it from the pod.
        self._put_away(pod, failed=False)
        report_drift(context, result)

    def _result(self, pod: V1Pod, ended: V1ContainerStateTerminated) -> dict[str, Any]:
        if ended.reason == "OOMKilled":
            raise UsageError(
                f"The step {self.step} took more memory than the limit of its pod: "
                f"{pod.spec.containers[0].resources.limits}. Raise the limit."
            )
        return step_result(self.step, ended.exit_code, ended.message or "")

    @tenacity.retry(
        stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
        wait=tenacity.wait_fixed(POLL_SECONDS),
        retry=tenacity.retry_if_exception(is_transient),
        reraise=True,
    )
    def _read_pod(self, name: str, namespace: str) -> V1Pod | None:
        try:
            return self.hook.get_pod(name, namespace)
        except ApiException as error:
            if is_not_found(error):
                return None
            raise

    def _raise_problem(self, event: dict[str, Any], pod: V1Pod | None) -> NoReturn:
        """Raise the reason why there is no result."""
        if event["problem"] == "timeout":
            raise AirflowTaskTimeout(
                f"The step {self.step} did not end within {self.execution_timeout}."
            )
        if event["problem"]:
            raise ServiceUnavailable(f"The pod {event['name']} {event['problem']}")
        if pod is None:
            raise TryAgain(f"The pod {event['name']} was deleted before the step ended.")
        status = pod.status
        raise TryAgain(
            f"The pod {event['name']} failed: {status.reason or status.phase}. "
            f"{status.message or ''}".rstrip()
        )

    def _put_away(self, pod: V1Pod | None, failed: bool) -> None:
        """Mark the pod, so that no later attempt resumes it, and delete it or keep it."""
        if pod is None:
            return
        self.patch_already_checked(pod, reraise=False)
        if failed and Settings.from_environment().keep_failed_pods_seconds > 0:
            self.log.info("The pod %s is kept.", pod.metadata.name)
            return
        try:
            self.pod_manager.delete_pod(pod)
        except (ApiException, *CONNECTION_ERRORS):
            # The result is safe, and a later step deletes marked pods.
            self.log.exception("The pod %s could not be deleted.", pod.metadata.name)

    def _delete_kept_pods(self, namespace: str) -> None:
        """Delete pods of earlier steps that have been kept for long enough."""
        keep = timedelta(seconds=Settings.from_environment().keep_failed_pods_seconds)
        done = self.client.list_namespaced_pod(
            namespace, label_selector=f"{STEP_LABEL},{self.POD_CHECKED_KEY}=True"
        )
        for pod in done.items:
            ended = terminated(pod)
            since = ended.finished_at if ended else pod.metadata.creation_timestamp
            if since + keep < datetime.now(UTC):
                self.pod_manager.delete_pod(pod)


def _template(folder: Path, step: str) -> dict[str, Any]:
    path = folder / f"{step}.yaml"
    try:
        template: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return template
    except OSError as error:
        raise UsageError(
            f"There is no pod template for the step {step}: {error}. "
            "BREEZEWAY_POD_TEMPLATES names their folder."
        ) from None
