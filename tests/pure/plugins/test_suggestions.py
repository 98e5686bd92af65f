"""What is suggested in a form, and that an answer of Airflow's comes through whatever happens."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from breezeway.core.names import DATASET_TAG
from breezeway_airflow import suggestions
from breezeway_airflow.suggestions import SuggestNames, with_suggestions

NAMES = {"tag": ["v2", "v1"], "model_version": ["champion", "2", "1"], "run_name": []}
DETAILS = "/api/v2/dags/training/details"


def details(of: str = "breezeway", /, **patterns: str) -> dict[str, Any]:
    """The details of a DAG with some text fields, as Airflow's API gives them."""
    params = {
        field: {"value": None, "schema": {"type": ["null", "string"], "pattern": pattern}}
        for field, pattern in patterns.items()
    }
    return {"dag_id": "training", "tags": [{"name": of, "dag_id": "training"}], "params": params}


def suggested(dag: Any, field: str) -> list[str] | None:
    answer = json.loads(with_suggestions(json.dumps(dag).encode(), NAMES))
    return answer["params"][field]["schema"].get("examples")


def test_a_field_gets_the_names_of_its_kind() -> None:
    dag = details(tag=DATASET_TAG.optional_form_pattern, model_version="", force="")
    assert suggested(dag, "tag") == ["v2", "v1"]
    assert suggested(dag, "model_version") == ["champion", "2", "1"]
    assert suggested(dag, "force") is None


def test_what_a_field_would_refuse_is_not_suggested() -> None:
    assert suggested(details(model_version="^(?:[1-9][0-9]{0,17})?$"), "model_version") == [
        "2",
        "1",
    ]


def test_a_field_whose_kind_has_no_name_yet_promises_no_suggestions() -> None:
    assert suggested(details(run_name=""), "run_name") is None


def test_the_form_of_another_dag_stays_as_it_is() -> None:
    assert suggested(details("theirs", tag=""), "tag") is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"tags": null}',
        b'{"tags": [{"name": "breezeway"}]}',
        b'{"tags": [{"name": "breezeway"}], "params": {"tag": 1}}',
        gzip.compress(json.dumps(details(tag="")).encode()),
        b"\xff\xfe",
    ],
)
def test_what_is_not_the_details_of_a_dag_comes_through_as_it_is(body: bytes) -> None:
    assert with_suggestions(body, NAMES) == body


async def ask(
    app: Any, path: str = DETAILS, method: str = "GET"
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


def airflow(status: int = 200, **fields: str) -> Any:
    """Answers with the details of a DAG, in two parts."""
    body = json.dumps(details(**fields)).encode()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:9], "more_body": True})
        await send({"type": "http.response.body", "body": body[9:]})

    return app


def given(app: Any, **request: str) -> list[str] | None:
    _, headers, body = asyncio.run(ask(SuggestNames(app, lambda: NAMES), **request))
    assert int(headers[b"content-length"]) == len(body)
    found: list[str] | None = json.loads(body)["params"]["tag"]["schema"].get("examples")
    return found


def test_they_are_put_into_the_answer_on_its_way() -> None:
    assert given(airflow(tag="")) == ["v2", "v1"]
    assert given(airflow(tag=""), path=f"/airflow{DETAILS}") == ["v2", "v1"]


def test_no_other_answer_is_touched() -> None:
    assert given(airflow(tag=""), path="/api/v2/dags/training") is None
    assert given(airflow(tag=""), method="PATCH") is None
    assert given(airflow(403, tag="")) is None


def test_a_wrong_setting_gives_a_form_without_suggestions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BREEZEWAY_THREADS", "all")
    suggestions._looked_up.cache_clear()
    assert suggestions.known_names() == {}
