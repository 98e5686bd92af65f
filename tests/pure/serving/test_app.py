"""Bodies that do not come as they should."""

import asyncio

import httpx
import pytest

from breezeway.core.settings import Settings
from breezeway.serving import app
from breezeway.serving.metrics import Metrics
from breezeway.serving.refusal import Refusal


def read(
    messages: list[dict],
    headers: list[tuple[bytes, bytes]] | None = None,
    bodies: app.Bodies | None = None,
) -> bytes:
    """Let a request receive these messages, and then nothing more."""
    waiting = iter(messages)

    async def receive() -> dict:
        for message in waiting:
            return message
        await asyncio.sleep(60)

    scope = {"headers": [(b"content-type", b"application/json"), *(headers or [])]}
    return asyncio.run(app.Request(scope, receive, bodies or app.Bodies()).body())


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
    monkeypatch.setattr(app, "BODY_SECONDS", 0.05)
    with pytest.raises(Refusal) as refused:
        read(pieces)
    assert refused.value.status == 408


def test_a_client_that_goes_away_is_not_answered():
    with pytest.raises(app.Disconnected):
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
    bodies = app.Bodies()
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
