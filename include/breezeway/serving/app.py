"""The model server's own routes, as a plain ASGI application.

    GET  /v1/models                  what is live
    GET  /v1/models/<model>          the same for one, with the reason of its last failure
    POST /v1/models/<model>/predict  one prediction

It stands before BentoML's application and hands on what is BentoML's: health and metrics.
Behind BentoML's middleware a request costs several times what the model does, every path
that anybody asks for becomes a label of its metrics for good, and its index page loads a
tracker. Predictions therefore have no OpenTelemetry span.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from breezeway.serving.active import ActiveModels
from breezeway.serving.metrics import Metrics
from breezeway.serving.predict import LiveModel, Refusal

BODY_LIMIT_BYTES = 4 * 1024 * 1024
BODY_SECONDS = 10.0
"""How long a client may take to send its body."""

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


BENTOML_PATHS = frozenset({"/healthz", "/livez", "/metrics", "/readyz"})


class Disconnected(Exception):
    """The client went away before its request was complete."""


class App:
    """The ASGI application.

    Args:
        models: what it serves; filled by whoever starts the server.
        bentoml: BentoML's application.
    """

    def __init__(self, models: ActiveModels, bentoml: ASGIApp):
        self.models = models
        self.bentoml = bentoml
        self.metrics = Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in BENTOML_PATHS:
            await self.bentoml(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = []
        try:
            status, body = 200, await self._route(scope, receive)
        except Refusal as refusal:
            status, body = refusal.status, refusal.body
            if status == 405:
                headers = [(b"allow", body["allowed"].encode())]
        except Disconnected:
            return
        content = orjson.dumps(body)
        headers += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _route(self, scope: Scope, receive: Receive) -> Any:
        parts = scope["path"].strip("/").split("/")
        match parts:
            case ["v1", "models", model_name, "predict"]:
                _allow(scope, "POST")
                return await self._predict(self._live(model_name), scope, receive)
            case ["v1", "models", model_name]:
                _allow(scope, "GET", "HEAD")
                if model_name not in self.models.names():
                    raise self._unknown(model_name)
                return self.models.status(model_name)
            case ["v1", "models"]:
                _allow(scope, "GET", "HEAD")
                return {"models": [self.models.status(name) for name in self.models.names()]}
            case _:
                raise Refusal(404, f"There is nothing at {scope['path'][:200]!r}; see /v1/models.")

    def _live(self, model_name: str) -> LiveModel:
        live = self.models.get(model_name)
        if live is None and model_name in self.models.names():
            raise Refusal(503, f"The model {model_name!r} could not be loaded yet.")
        if live is None:
            raise self._unknown(model_name)
        return live

    def _unknown(self, model_name: str) -> Refusal:
        known = ", ".join(self.models.names()) or "none"
        return Refusal(404, f"There is no model {model_name[:80]!r}; served: {known}.")

    async def _predict(self, live: LiveModel, scope: Scope, receive: Receive) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            body = await read_body(scope, receive)
            # In the event loop: it takes less time than a thread takes to be woken.
            answer = live.answer(body)
        except Refusal:
            self.metrics.rejected(live.pointer)
            raise
        self.metrics.predicted(live.pointer, answer["alarm"], time.perf_counter() - started)
        return answer


def _allow(scope: Scope, *methods: str) -> None:
    if scope["method"] not in methods:
        allowed = ", ".join(methods)
        raise Refusal(405, f"Allowed here: {allowed}; not {scope['method']}.", allowed=allowed)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body of a request.

    Raises:
        Refusal: 413 over the limit, as soon as it is known; 408 if it comes too slowly.
        Disconnected: the client went away.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > BODY_LIMIT_BYTES:
            raise _too_large()
    body = bytearray()
    more = await _receive_into(body, receive)
    if more:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    more = await _receive_into(body, receive)
        except TimeoutError:
            message = f"The body did not arrive within {BODY_SECONDS:.0f} s."
            raise Refusal(408, message) from None
    return bytes(body)


async def _receive_into(body: bytearray, receive: Receive) -> bool:
    """Append the next piece; returns whether there is more."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body += message.get("body", b"")
    if len(body) > BODY_LIMIT_BYTES:
        raise _too_large()
    return message.get("more_body", False)


def _too_large() -> Refusal:
    return Refusal(413, f"The body is larger than {BODY_LIMIT_BYTES} bytes.")
