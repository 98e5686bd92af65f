"""Tells people what they have to know, by Airflow's notifiers.

The setting `BREEZEWAY_NOTIFIERS` names them once for all DAGs. Each gets a `Notice`: what has
happened, why, and a link. A notice that cannot be sent is an error in the log of its task, never a
failure of the task.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from airflow.sdk import BaseNotifier, Context
from airflow.sdk.configuration import conf
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings

log = logging.getLogger("breezeway")

WEBHOOK_SECONDS = 10
LONGEST_REASON = 2000
"""Characters; a chat refuses much longer messages."""


GAPS = {
    "absent_nights": "Of the last four weeks {} nights were not checked.",
    "absent_days": "Of the last four weeks {} days have readings and are not published.",
    "late_days": "{} days of longer ago have readings that came too late for the history.",
}
"""Field of the step's result → what it says to people."""


class NotifierSettings(BaseModel):
    """One entry of the setting: the notifier and its arguments, which may be templates."""

    model_config = ConfigDict(extra="allow")

    notifier: str = "webhook"
    """`webhook`, or the import path of one of Airflow's notifiers."""


_SETTING = TypeAdapter(list[NotifierSettings])


@dataclass(frozen=True)
class Notice:
    """What people are told.

    Args:
        event: `failed`, `late`, `drift`, `fault`, `gap` or `refused`.
        title: one line.
        why: the reason, in sentences.
        link: to the run or the task in Airflow's web UI.
        owner: of the DAG, from the sensor contract.
        at: ISO 8601, UTC.
    """

    event: str
    title: str
    why: str
    link: str
    dag: str
    run: str
    task: str
    owner: str
    at: str

    @property
    def text(self) -> str:
        """All of it, for a notifier that takes one text."""
        return f"{self.title}\n\n{self.why}\n\n{self.link}"


class WebhookNotifier(BaseNotifier):
    """Posts the notice as a JSON object with the fields of `Notice` and its `text`.

    Chats with incoming webhooks, such as Slack and Mattermost, show the field `text`.

    Args:
        url: where to; kept out of logs, because it often is a secret.
        headers: of the request.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None):
        super().__init__()
        self.url = url
        self.headers = dict(headers or {})

    def notify(self, context: Context) -> None:
        """Post it.

        Raises:
            OSError: the other side does not answer, or refuses.
        """
        notice: Notice = context["notice"]  # type: ignore[typeddict-item]
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the address
        body = {**asdict(notice), "text": notice.text}
        host = urlsplit(self.url).hostname
        try:
            answer = httpx.post(self.url, json=body, headers=self.headers, timeout=WEBHOOK_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OSError(
                f"The webhook at {host} does not answer: {type(error).__name__}."
            ) from None
        if not answer.is_success:
            raise OSError(f"The webhook at {host} refuses the notice: {answer.status_code}.")


def failed(context: Context) -> None:
    """A task has failed for good; Airflow calls this."""
    ti = context["ti"]
    error = context.get("exception") or "It was ended, or its worker was."
    tell(context, "failed", f"{ti.dag_id}: the task {ti.task_id} has failed", str(error))


def timed_out(context: Context) -> None:
    """A run has failed: people are told if it took too long; of the rest, its tasks tell."""
    if context.get("reason") == "timed_out":
        dag = context["dag"]
        title = f"{dag.dag_id}: the run took too long"
        tell(context, "late", title, f"Its limit is {dag.dagrun_timeout}.")


def tell_of_night(context: Context, result: Mapping[str, Any]) -> None:
    """Tell people of sensor faults and of gaps, each night for as long as they are there.

    Args:
        result: of the step `drift`.
    """
    model = result["model_name"]
    if count := result["sensor_fault_count"]:
        named = "; ".join(f"{f['device']}: {f['detail']}" for f in result["sensor_faults"])
        title = f"{count} sensor faults were found in the readings of {model}"
        tell(context, "fault", title, f"On {result['date']}: {named}.")
    gaps = [sentence.format(count) for key, sentence in GAPS.items() if (count := result[key])]
    if gaps:
        why = f"{' '.join(gaps)} The page Reports names them."
        tell(context, "gap", f"Nights or days of {model} are missing", why)


def tell(context: Context, event: str, title: str, why: str) -> None:
    """Send a notice by each notifier of the setting."""
    setting = Settings.from_environment().notifiers
    if setting is None:
        return
    notice = _notice(context, event, title, why)
    try:
        notifiers = configured(setting.get_secret_value())
    except UsageError:
        log.exception("Nobody was told: %s", title)
        return
    for notifier in notifiers:
        try:
            notifier({**context, "notice": notice})
        except Exception:
            log.exception("%s could not tell: %s", type(notifier).__name__, title)


def configured(setting: str) -> list[BaseNotifier]:
    """The notifiers of the setting.

    Raises:
        UsageError: it cannot be read, or names a notifier that is not there or takes other
            arguments; no value of the setting is in the message.
    """
    try:
        entries = _SETTING.validate_json(setting, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(f"BREEZEWAY_NOTIFIERS: {place}: {first['msg']}.") from None
    return [_made(number, entry) for number, entry in enumerate(entries)]


def _made(number: int, entry: NotifierSettings) -> BaseNotifier:
    try:
        notifier = _kind(entry.notifier)(**(entry.model_extra or {}))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(
            f"BREEZEWAY_NOTIFIERS: {number}: the notifier {entry.notifier!r} cannot be made "
            f"({type(error).__name__}): expected 'webhook' with its url, or the import path of an "
            "installed notifier with its arguments."
        ) from None
    if not isinstance(notifier, BaseNotifier):
        raise UsageError(
            f"BREEZEWAY_NOTIFIERS: {number}: {entry.notifier!r} is no notifier of Airflow."
        )
    return notifier


def _kind(name: str) -> Any:
    if name == "webhook":
        return WebhookNotifier
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def _notice(context: Context, event: str, title: str, why: str) -> Notice:
    dag = context["dag"]
    task = context["ti"].task_id if context.get("ti") else ""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    page = f"{base}/dags/{dag.dag_id}/runs/{quote(context['run_id'], safe='')}"
    return Notice(
        event=event,
        title=title,
        why=why[:LONGEST_REASON],
        link=f"{page}/tasks/{task}" if task else page,
        dag=dag.dag_id,
        run=context["run_id"],
        task=task,
        owner=str(dag.default_args.get("owner", "")),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
