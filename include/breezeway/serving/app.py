"""The model server's routes, as a plain ASGI application; `openapi.json` describes them.

Under `bentoml serve` it stands in front of BentoML's application, which gets no request: behind
BentoML's middleware a request costs several times what the model costs, each requested path becomes
a permanent label of its metrics, and its index page loads a tracker. Predictions therefore have no
OpenTelemetry span.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

import orjson

from breezeway.core.settings import Settings
from breezeway.serving import api_page, page
from breezeway.serving.active import ActiveModels, families
from breezeway.serving.alarms import Alarm
from breezeway.serving.guard import Guard
from breezeway.serving.metrics import exposition
from breezeway.serving.predict import Signer, read_batch, read_feedback, read_request
from breezeway.serving.refusal import Refusal
from breezeway.serving.trial import Contender, Serving
from breezeway.serving.window import Known, Readings

log = logging.getLogger("breezeway.serving")

JSON = b"application/json"
BODY_LIMIT_BYTES = 4 * 1024 * 1024
BODY_SECONDS = 10.0
"""How long a client may take to send its body."""
BODIES_LIMIT_BYTES = 32 * 1024 * 1024
"""Of all bodies together that came in several pieces and are not answered yet."""

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

PROBES = frozenset({"/", "/docs", "/healthz", "/livez", "/metrics", "/readyz"})
"""Paths for the platform, and the pages for a person: they are not counted, and health has no
body."""

BATCH_SECONDS = 0.002
"""After this time a batch lets other requests run."""
BATCH_ROWS = 64
"""Scored in one call: enough to amortise the call, few enough not to delay other requests."""

REMEMBERED_FEEDBACK = 100_000
"""Predictions that have a label already: the same feedback sent again counts once."""

LAG_SECONDS = 1.0
"""How often the event loop's lag is measured."""


class Disconnected(Exception):
    """The client went away before its request was complete."""


class App:
    """The ASGI application.

    Args:
        models: the models that it serves; others fill them.
        lifespan: the application that starts and stops with it.
        settings: who may speak to it, and the key that signs predictions.
    """

    def __init__(self, models: ActiveModels, lifespan: ASGIApp, settings: Settings):
        self.models = models
        self._lifespan = lifespan
        self._guard = Guard(settings)
        key = settings.serving_key
        self._signer = Signer(key.get_secret_value().encode() if key else None)
        self._openapi = files("breezeway.serving").joinpath("openapi.json").read_bytes()
        self._known_feedback: OrderedDict[str, None] = OrderedDict()
        self._bodies = Bodies()
        self._lag_task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            self._lag_task = asyncio.create_task(self._measure_lag())
            await self._lifespan(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _measure_lag(self) -> None:
        while True:
            due = time.perf_counter() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self.models.metrics.loop_lag = max(0.0, time.perf_counter() - due)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, self._bodies)
        metrics = self.models.metrics
        metrics.in_progress += 1
        try:
            self._guard.check(scope["path"], request.headers)
            if scope["path"] in PROBES or scope["path"] in api_page.FILES:
                await self._probe(request, send)
                return
            body = await self._route(request)
            await request.respond(send, request.status, body)
        except Refusal as refusal:
            request.status = refusal.status
            await request.respond(send, refusal.status, refusal.body)
        except Disconnected:
            return
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"][:200])
            request.status = 500
            error = "The server failed on this request; its log says why."
            await request.respond(send, 500, {"error": error})
        finally:
            metrics.in_progress -= 1
            self._bodies.held -= request.held
        metrics.requests[request.model_name, request.endpoint, request.status] += 1
        if request.afterwards:
            request.afterwards()

    async def _probe(self, request: "Request", send: Send) -> None:
        request.allow("GET", "HEAD")
        path, content = request.scope["path"], b"\n"
        headers = [(b"content-type", b"text/plain; version=0.0.4")]
        if path == "/metrics":
            content = exposition(families(self.models)).encode()
        elif path == "/":
            content = page.index(self.models, request.address, token=self._guard.asks_for_a_token)
            headers = [
                (b"content-type", b"text/html; charset=utf-8"),
                (b"content-security-policy", page.POLICY),
            ]
        elif path == "/docs":
            content = api_page.index(self.models, token=self._guard.asks_for_a_token)
            headers = [
                (b"content-type", b"text/html; charset=utf-8"),
                (b"content-security-policy", api_page.POLICY),
            ]
        elif path in api_page.FILES:
            content = api_page.read(path)
            headers = [(b"content-type", api_page.FILES[path])]
        status = 503 if path == "/readyz" and not self.models.ready else 200
        await _send(send, status, content, headers)

    async def _route(self, request: "Request") -> Any:
        parts = request.scope["path"].strip("/").split("/")
        match parts:
            case ["v1", "models", model_name, "predict"]:
                request.allow("POST")
                return await self._predict(request, self._serving(request, model_name, "predict"))
            case ["v1", "models", model_name, "predict-batch"]:
                request.allow("POST")
                serving = self._serving(request, model_name, "predict_batch")
                return await self._predict_batch(request, serving)
            case ["v1", "models", model_name, "versions", version, "predict"]:
                request.allow("POST")
                serving = self._serving(request, model_name, "predict")
                contender = serving.version(version)
                if contender is None:
                    raise Refusal(404, f"Version {version[:80]!r} of {model_name} is not live.")
                return (await self._answered(request, contender))[-1]
            case ["v1", "models", model_name, "feedback"]:
                request.allow("POST")
                serving = self._serving(request, model_name, "feedback")
                return await self._feedback(request, model_name, serving)
            case ["v1", "models", model_name]:
                request.allow("GET", "HEAD")
                if model_name not in self.models.states():
                    raise self._unknown(model_name)
                request.counted_as(model_name, "status")
                return self.models.status(model_name)
            case ["v1", "models"]:
                request.allow("GET", "HEAD")
                request.counted_as("", "status")
                return {"models": [self.models.status(name) for name in self.models.states()]}
            case ["openapi.json"]:
                request.allow("GET", "HEAD")
                return orjson.Fragment(self._openapi)
            case _:
                path = request.scope["path"][:200]
                raise Refusal(404, f"There is nothing at {path!r}; see /v1/models.")

    def _serving(self, request: "Request", model_name: str, endpoint: str) -> Serving:
        serving = self.models.get(model_name)
        if serving is None and model_name not in self.models.states():
            raise self._unknown(model_name)
        request.counted_as(model_name, endpoint)
        if serving is None:
            raise Refusal(503, f"The model {model_name!r} could not be loaded yet.")
        return serving

    def _unknown(self, model_name: str) -> Refusal:
        known = ", ".join(self.models.states()) or "none"
        return Refusal(404, f"There is no model {model_name[:80]!r}; served: {known}.")

    async def _answered(
        self, request: "Request", serving: Serving | Contender
    ) -> tuple[str, Readings, dict[str, Any]]:
        explain, alarms = request.explain(), list[Alarm]()
        device, readings = read_request(await request.body())
        # In the event loop: it takes less time than a thread takes to be woken.
        answer = serving.predict(device, readings, None if explain is False else alarms)
        self._signer.sign(answer)
        for alarm in alarms:
            alarm.explain(each=bool(explain))
        return device, readings, answer

    async def _predict(self, request: "Request", serving: Serving) -> dict[str, Any]:
        device, readings, answer = await self._answered(request, serving)
        if serving.trial:
            # When the client has its answer.
            request.afterwards = lambda: serving.compare(device, readings, answer)
        return answer

    async def _predict_batch(self, request: "Request", serving: Serving) -> dict[str, Any]:
        explain = request.explain()
        requests = read_batch(await request.body())
        answers: list[dict[str, Any]] = []
        known: dict[str, Known] = {}
        size = 1
        while len(answers) < len(requests):
            started = time.perf_counter()
            some = requests[len(answers) : len(answers) + size]
            alarms: list[Alarm] = []
            given = serving.predict_some(some, known, None if explain is False else alarms)
            for answer in given:
                if not isinstance(answer, Refusal):
                    self._signer.sign(answer)
            answers += [a.as_item() if isinstance(a, Refusal) else a for a in given]
            if serving.trial:
                _compare_all(serving, some, given)
            each = (time.perf_counter() - started) / len(some)
            size = max(1, min(BATCH_ROWS, int(BATCH_SECONDS / each)))
            await asyncio.sleep(0)
            await _explain(alarms, each=bool(explain))
        return {"predictions": answers}

    async def _feedback(
        self, request: "Request", model_name: str, serving: Serving
    ) -> dict[str, Any]:
        feedback = read_feedback(await request.body(), model_name)
        ignored = self.models.metrics.ignored_feedback
        if not self._signer.signed(feedback.prediction_id):
            ignored[model_name, "unsigned"] += 1
            raise Refusal(
                400,
                "prediction_id: this server did not sign it. It is invented, or of a server with "
                "another BREEZEWAY_SERVING_KEY; without this setting each start has its own.",
                field="prediction_id",
                reason="unsigned",
            )
        request.status = 202
        contender = serving.version(feedback.model_version)
        if contender is None:
            ignored[model_name, "not_live"] += 1
            return {"counted": False, "reason": "not_live"}
        if feedback.prediction_id in self._known_feedback:
            ignored[model_name, "known"] += 1
            return {"counted": False, "reason": "known"}
        self._known_feedback[feedback.prediction_id] = None
        if len(self._known_feedback) > REMEMBERED_FEEDBACK:
            self._known_feedback.popitem(last=False)
        for tally in contender.tallies:
            tally.feedback[feedback.alarm, feedback.label] += 1
        return {"counted": True}


async def _explain(alarms: list[Alarm], *, each: bool) -> None:
    """Explain the alarms of a batch; other requests run as often as beside the scores."""
    until = time.perf_counter() + BATCH_SECONDS
    for alarm in alarms:
        alarm.explain(each=each)
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + BATCH_SECONDS


def _compare_all(serving: Serving, requests: list[Any], answers: list[Any]) -> None:
    for request, answer in zip(requests, answers, strict=True):
        if not isinstance(answer, Refusal):
            serving.compare(request["device"], request["readings"], answer)


class Bodies:
    """The bytes of all bodies that the application holds because they come in pieces."""

    def __init__(self) -> None:
        self.held = 0


class Request:
    """One HTTP request, with what the metrics count about it once it is answered."""

    def __init__(self, scope: Scope, receive: Receive, bodies: Bodies):
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive
        self._bodies = bodies
        self.held = 0
        """Bytes of its body, until it is answered, of those that `bodies` counts."""
        self.status = 200
        self.model_name = ""
        self.endpoint = "other"
        self.afterwards: Callable[[], None] | None = None

    @property
    def address(self) -> str:
        """Of this server, as the client names it."""
        host = self.headers.get(b"host", b"localhost").decode("latin-1")
        return f"{self.scope.get('scheme', 'http')}://{host}"

    def counted_as(self, model_name: str, endpoint: str) -> None:
        """Call with known names only: each becomes a permanent label of a metric."""
        self.model_name, self.endpoint = model_name, endpoint

    def allow(self, *methods: str) -> None:
        if self.scope["method"] not in methods:
            allowed = ", ".join(methods)
            method = self.scope["method"]
            raise Refusal(405, f"Allowed here: {allowed}; not {method}.", allowed=allowed)

    def explain(self) -> bool | None:
        """What `?explain=` says: true is each alarm, false none; None if it is not there.

        Raises:
            Refusal: 400, it says something else.
        """
        query: str = self.scope.get("query_string", b"").decode("latin-1")
        said = [text for key, text in parse_qsl(query, keep_blank_values=True) if key == "explain"]
        if not said:
            return None
        if len(said) > 1 or said[0] not in ("true", "false"):
            shown = ", ".join(map(repr, said))[:80]
            raise Refusal(400, f"explain: expected true or false, once; found {shown}.")
        return said[0] == "true"

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            Refusal: 415 if it does not say that it is JSON; 413 as soon as it is known to be too
                large; 408 if it arrives too slowly; 503 if other requests hold too much.
            Disconnected: the client went away.
        """
        # A browser sends JSON to another site only after it has asked that site.
        if self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != JSON:
            raise Refusal(415, "Expected: `Content-Type: application/json`.")
        if int(self.headers.get(b"content-length", b"0")) > BODY_LIMIT_BYTES:
            raise _too_large()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                piece, more = await self._piece()
                if not more:
                    return piece
                body = bytearray(piece)
                self._hold(len(body))
                while more:
                    piece, more = await self._piece()
                    self._hold(len(piece))
                    body += piece
        except TimeoutError:
            message = f"The body did not arrive within {BODY_SECONDS:.0f} s."
            raise Refusal(408, message) from None
        return bytes(body)

    async def _piece(self) -> tuple[bytes, bool]:
        """The next piece, and whether there is more."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece = message.get("body", b"")
        if self.held + len(piece) > BODY_LIMIT_BYTES:
            raise _too_large()
        return piece, bool(message.get("more_body", False))

    def _hold(self, count: int) -> None:
        if self._bodies.held + count > BODIES_LIMIT_BYTES:
            raise Refusal(503, "Other requests with large bodies fill the server; try again.")
        self.held += count
        self._bodies.held += count

    async def respond(self, send: Send, status: int, body: Any) -> None:
        headers = [(b"content-type", JSON)]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append((b"allow", body["allowed"].encode()))
        elif status == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        await _send(send, status, orjson.dumps(body), headers)


async def _send(
    send: Send, status: int, content: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _too_large() -> Refusal:
    return Refusal(413, f"The body is larger than {BODY_LIMIT_BYTES} bytes.")
