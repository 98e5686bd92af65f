"""Bodies that do not come as they should, and the page for a browser."""

import asyncio
import html
import json
import shlex

import httpx
import pytest

from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.deployment.store import DeploymentStore
from breezeway.serving import app, http
from breezeway.serving.active import ActiveModels, State
from breezeway.serving.metrics import Metrics
from breezeway.serving.predict import check_request
from breezeway.serving.refusal import Refusal
from tests.fixtures.serving import add_deployment, make_model


def read(
    messages: list[dict],
    headers: list[tuple[bytes, bytes]] | None = None,
    bodies: http.Bodies | None = None,
) -> bytes:
    """Let a request receive these messages, and then nothing more."""
    waiting = iter(messages)

    async def receive() -> dict:
        for message in waiting:
            return message
        await asyncio.sleep(60)

    scope = {"headers": [(b"content-type", b"application/json"), *(headers or [])]}
    return asyncio.run(http.Request(scope, receive, bodies or http.Bodies()).body())


def chunk(body: bytes, more: bool = True) -> dict:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_may_come_in_pieces():
    assert read([chunk(b"{"), chunk(b""), chunk(b"}", more=False)]) == b"{}"


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/x-www-form-urlencoded"])
def test_a_body_that_says_to_be_no_json_is_refused(kind):
    with pytest.raises(Refusal) as refused:
        read([chunk(b"{}", more=False)], [(b"content-type", kind)])
    assert refused.value.status == 415


def test_json_may_have_a_charset():
    kind = (b"content-type", b"Application/JSON; charset=utf-8")
    assert read([chunk(b"{}", more=False)], [kind]) == b"{}"


@pytest.mark.parametrize("pieces", [[], [chunk(b"{")]])
def test_a_body_that_does_not_end_is_refused(monkeypatch, pieces):
    monkeypatch.setattr(http, "BODY_SECONDS", 0.05)
    with pytest.raises(Refusal) as refused:
        read(pieces)
    assert refused.value.status == 408


def test_a_client_that_goes_away_is_not_answered():
    with pytest.raises(http.Disconnected):
        read([chunk(b"{"), {"type": "http.disconnect"}])


@pytest.mark.parametrize(
    ("messages", "headers"),
    [
        ([], [(b"content-length", b"99999999")]),
        ([chunk(b"x" * 3_000_000), chunk(b"x" * 3_000_000)], []),
        ([chunk(b"x" * 6_000_000, more=False)], []),
    ],
)
def test_too_large_a_body_is_refused_as_soon_as_it_is_known(messages, headers):
    with pytest.raises(Refusal) as refused:
        read(messages, headers)
    assert refused.value.status == 413


def test_many_large_bodies_at_once_are_refused():
    bodies = http.Bodies()
    for _ in range(8):
        read([chunk(b"x" * 2**21), chunk(b"x" * 2**21, more=False)], bodies=bodies)
    with pytest.raises(Refusal) as refused:
        read([chunk(b"x"), chunk(b"x", more=False)], bodies=bodies)
    assert refused.value.status == 503
    # What came in one piece is answered before the next request is read.
    assert read([chunk(b"x", more=False)], bodies=bodies) == b"x"


def test_a_defect_of_ours_is_a_500_with_a_sentence_and_a_line_in_the_log(caplog):
    class Broken:
        metrics = Metrics()

        def states(self) -> dict:
            raise RuntimeError("broken")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app.App(Broken(), lifespan=None, settings=Settings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/models")

    response = asyncio.run(ask())
    assert response.status_code == 500
    assert response.json()["error"].endswith(".")
    assert "RuntimeError: broken" in caplog.text
    assert Broken.metrics.requests["", "status", 500] == 1
    assert Broken.metrics.in_progress == 0


# -- the page


def page_of(models: ActiveModels, **settings: object) -> httpx.Response:
    served = app.App(models, lambda *_: None, Settings(**settings))
    transport = httpx.ASGITransport(served)

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as c:
            return await c.get("/", headers={"Authorization": "Bearer s3cret"})

    return asyncio.run(get())


def test_the_page_shows_what_is_in_service_and_a_request_that_gets_the_recorded_score(tmp_path):
    store, copy = DeploymentStore(tmp_path / "store"), DeploymentStore(tmp_path / "copy")
    pointer = add_deployment(store, "pump", 1, make_model(tmp_path / "a"))
    store.point(pointer)
    models = ActiveModels()
    models.refresh(store, copy)
    page = page_of(models)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<td>pump<td>1<td>" in page.text
    command = html.unescape(page.text.partition("<pre>")[2].partition("</pre>")[0])
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["curl", "http://127.0.0.1:3000/v1/models/pump/predict?explain=true"]
    body = json.loads(words[-1])
    live = models.get("pump").champion.live
    score = live.score(*check_request(body))
    assert score == live.model.examples[0]["score"]
    assert "$BREEZEWAY_SERVING_TOKEN" not in command
    assert "$BREEZEWAY_SERVING_TOKEN" in page_of(models, serving_token="s3cret").text
    assert "s3cret" not in page_of(models, serving_token="s3cret").text


def test_the_page_says_what_could_not_be_loaded_as_text(tmp_path):
    models = ActiveModels()
    assert "No model is in service yet. Trigger the DAG" in page_of(models).text
    failures = models._states.setdefault("pump", State()).failures
    failures.note(None, DataError("<script>alert(1)</script>"), "pump")
    page = page_of(models).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
