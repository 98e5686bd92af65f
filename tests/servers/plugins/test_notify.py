"""People are told, and no notice that fails harms its task or shows a secret."""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseNotifier

from breezeway.core.errors import UsageError
from breezeway_airflow import notify
from breezeway_airflow.registry import PromoteChallenger
from tests.fixtures.webhook import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def context() -> dict[str, Any]:
    run = SimpleNamespace(dag_id="training", run_id="manual__2026-11-20T00:00:00+00:00")
    return {
        "dag": DAG("training", default_args={"owner": "mill"}, dagrun_timeout=timedelta(hours=3)),
        "dag_run": run,
        "run_id": run.run_id,
        "ti": SimpleNamespace(dag_id="training", task_id="deploy"),
        "exception": RuntimeError("The servers do not answer."),
    }


def use(monkeypatch: pytest.MonkeyPatch, *entries: dict[str, Any]) -> None:
    monkeypatch.setenv("BREEZEWAY_NOTIFIERS", json.dumps(entries))


def test_a_webhook_gets_what_happened_why_and_a_link(monkeypatch, receiver, context) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
    use(monkeypatch, {"url": receiver.url, "headers": {"X-Key": "a key"}})
    notify.failed(context)
    (told,) = receiver.posted
    assert told.pop("at").endswith("+00:00")
    link = "https://airflow.example/dags/training/runs/manual__2026-11-20T00%3A00%3A00%2B00%3A00"
    title = "training: the task deploy has failed"
    assert told == {
        "event": "failed",
        "title": title,
        "why": "The servers do not answer.",
        "link": f"{link}/tasks/deploy",
        "dag": "training",
        "run": context["dag_run"].run_id,
        "task": "deploy",
        "owner": "mill",
        "key": "a key",
        "text": f"{title}\n\nThe servers do not answer.\n\n{link}/tasks/deploy",
    }


def test_a_run_that_took_too_long_is_told_and_another_failure_of_a_run_is_not(
    monkeypatch, receiver, context
) -> None:
    use(monkeypatch, {"url": receiver.url})
    notify.timed_out({**context, "reason": "task_failure"})
    assert receiver.posted == []
    # What Airflow gives where it has no task of the run.
    bare = {name: context[name] for name in ("dag", "run_id")}
    notify.timed_out({**bare, "reason": "timed_out"})
    assert [told["event"] for told in receiver.posted] == ["late"]
    assert "3:00:00" in receiver.posted[0]["why"]


def test_without_a_notifier_nobody_is_told(monkeypatch, context) -> None:
    monkeypatch.delenv("BREEZEWAY_NOTIFIERS", raising=False)
    notify.failed(context)


class Collecting(BaseNotifier):
    """A notifier as a provider brings it, with a template."""

    template_fields = ("message",)
    told: list[str] = []  # noqa: RUF012

    def __init__(self, message: str):
        super().__init__()
        self.message = message

    def notify(self, context: Any) -> None:
        self.told.append(self.message)


def test_one_of_airflows_notifiers_has_the_notice_in_its_templates(monkeypatch, context) -> None:
    path = f"{__name__}.{Collecting.__name__}"
    monkeypatch.setattr(notify, "import_module", lambda _: SimpleNamespace(Collecting=Collecting))
    use(monkeypatch, {"notifier": path, "message": "{{ notice.event }}: {{ notice.why }}"})
    notify.failed(context)
    assert Collecting.told == ["failed: The servers do not answer."]


@pytest.mark.parametrize("status", [404, 500])
def test_a_webhook_that_refuses_is_logged_without_its_address_and_the_next_is_told(
    monkeypatch, receiver, context, caplog, status
) -> None:
    receiver.status = status
    gone = "http://127.0.0.1:1/hook/secret-word"
    use(monkeypatch, {"url": gone}, {"url": receiver.url}, {"url": receiver.url})
    with caplog.at_level(logging.DEBUG):
        notify.failed(context)
    assert len(receiver.posted) == 2
    assert "127.0.0.1 does not answer: ConnectError" in caplog.text
    assert caplog.text.count(f"127.0.0.1 refuses the notice: {status}") >= 2
    assert "secret-word" not in caplog.text


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("", "Invalid JSON"),
        ("{}", "the whole: Input should be a valid array"),
        ('[{"notifier": 7}]', "0.notifier: Input should be a valid string"),
        ('["http://secret-word"]', "0: "),
        ('[{"url": "http://a"}, {"notifier": "webhook"}]', "1: the notifier 'webhook'"),
        ('[{"notifier": "no.such.Notifier"}]', r"'no.such.Notifier' cannot be made \(Module"),
        ('[{"notifier": "Notifier"}]', "cannot be made"),
        ('[{"notifier": "webhook", "adress": "secret-word"}]', "with its url"),
        ('[{"notifier": "datetime.timedelta"}]', "no notifier of Airflow"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_without_its_values(setting, sentence) -> None:
    with pytest.raises(UsageError, match=rf"BREEZEWAY_NOTIFIERS: .*{sentence}") as refused:
        notify.configured(setting)
    assert "secret-word" not in str(refused.value)


def test_such_a_setting_does_not_fail_the_task(monkeypatch, context, caplog) -> None:
    monkeypatch.setenv("BREEZEWAY_NOTIFIERS", "{}")
    notify.failed(context)
    assert "Nobody was told: training: the task deploy has failed" in caplog.text


def test_a_long_reason_is_cut(monkeypatch, receiver, context) -> None:
    use(monkeypatch, {"url": receiver.url})
    notify.tell(context, "drift", "The plant has drifted", "x" * 10_000)
    assert len(receiver.posted[0]["why"]) == notify.LONGEST_REASON


def test_a_refused_version_is_told(monkeypatch, receiver, context) -> None:
    use(monkeypatch, {"url": receiver.url})
    context["ti"].xcom_push = lambda *_: None
    trial = PromoteChallenger(
        task_id="promote",
        dag=context["dag"],
        model_name="plant",
        model_version="7",
        champion="6",
        decision="roll back",
        reason="It is slow.",
    )
    assert trial.execute(context)["promoted"] is False
    (told,) = receiver.posted
    assert (told["event"], told["why"]) == ("refused", "It is slow.")
    assert told["title"] == "plant 7 is not promoted"
