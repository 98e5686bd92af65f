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
from importlib.metadata import version as version_of
from importlib.resources import files
from typing import Any

import numpy as np
import orjson

from breezeway.core.settings import Settings
from breezeway.serving import api_page, feature_rows, page
from breezeway.serving.active import ActiveModels, families
from breezeway.serving.alarms import Alarm
from breezeway.serving.guard import Guard
from breezeway.serving.http import (
    BINARY,
    JSON,
    JSON_LENGTH,
    ASGIApp,
    Bodies,
    Disconnected,
    Encoded,
    Receive,
    Request,
    Scope,
    Send,
    send_whole,
)
from breezeway.serving.metrics import exposition
from breezeway.serving.predict import Signer, read_batch, read_feedback, read_request
from breezeway.serving.refusal import Refusal
from breezeway.serving.trial import Contender, Serving
from breezeway.serving.window import Known, Readings

log = logging.getLogger("breezeway.serving")

VERSION = version_of("breezeway")

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

    async def _probe(self, request: Request, send: Send) -> None:
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
        await send_whole(send, status, content, headers)

    async def _route(self, request: Request) -> Any:
        match request.scope["path"].strip("/").split("/"):
            case ["v1", "models", *path]:
                return await self._models(request, path)
            case ["v2", *path]:
                return await self._open_inference(request, path)
            case ["invocations"]:
                request.allow("POST")
                return await self._invocations(request, self._only_model())
            case ["ping"]:
                request.allow("GET", "HEAD")
                return _health(request, ready=self.models.ready)
            case ["openapi.json"]:
                request.allow("GET", "HEAD")
                return orjson.Fragment(self._openapi)
        raise _nothing_at(request)

    async def _models(self, request: Request, path: list[str]) -> Any:
        match path:
            case [model_name, "predict"]:
                request.allow("POST")
                return await self._predict(request, self._serving(request, model_name, "predict"))
            case [model_name, "predict-batch"]:
                request.allow("POST")
                serving = self._serving(request, model_name, "predict_batch")
                return await self._predict_batch(request, serving)
            case [model_name, "versions", version, "predict"]:
                request.allow("POST")
                serving = self._serving(request, model_name, "predict")
                return (await self._answered(request, _version(serving, version)))[-1]
            case [model_name, "feedback"]:
                request.allow("POST")
                serving = self._serving(request, model_name, "feedback")
                return await self._feedback(request, model_name, serving)
            case [model_name, "invocations"]:
                request.allow("POST")
                return await self._invocations(request, model_name)
            case [model_name]:
                request.allow("GET", "HEAD")
                if model_name not in self.models.states():
                    raise self._unknown(model_name)
                request.counted_as(model_name, "status")
                return self.models.status(model_name)
            case []:
                request.allow("GET", "HEAD")
                request.counted_as("", "status")
                return {"models": [self.models.status(name) for name in self.models.states()]}
        raise _nothing_at(request)

    async def _open_inference(self, request: Request, path: list[str]) -> Any:
        """The Open Inference Protocol, on rows of features."""
        match path:
            case ["models", model_name, *rest]:
                infer = rest[-1:] == ["infer"]
                request.allow(*(["POST"] if infer else ["GET", "HEAD"]))
                serving = self._serving(request, model_name, "infer" if infer else "status")
                return await self._of_model(request, serving, rest)
            case [] | ["health", "live" | "ready"]:
                request.allow("GET", "HEAD")
                request.counted_as("", "status")
                if path:
                    return _health(request, ready=path[1] == "live" or self.models.ready)
                extensions = ["binary_tensor_data"]
                return {"name": "breezeway", "version": VERSION, "extensions": extensions}
        raise _nothing_at(request)

    async def _of_model(self, request: Request, serving: Serving, path: list[str]) -> Any:
        match path:
            case ["versions", version, *path]:
                contender = _version(serving, version)
            case _:
                contender = serving.champion
        match path:
            case ["infer"]:
                return await _infer(request, contender)
            case ["ready"]:
                return _health(request, ready=True)
            case []:
                live = contender.live
                name, contract = live.deployment.model_name, live.model.contract
                return feature_rows.describe(contract, name, serving.versions)
        raise _nothing_at(request)

    def _only_model(self) -> str:
        names = list(self.models.states())
        if len(names) != 1:
            known = ", ".join(names) or "none"
            raise Refusal(
                404,
                f"This server has not one model ({known}): ask at /v1/models/<model>/invocations.",
            )
        return names[0]

    async def _invocations(self, request: Request, model_name: str) -> dict[str, Any]:
        contender = self._serving(request, model_name, "invocations").champion
        model = contender.live.model
        rows = feature_rows.read_invocation(await request.body(), model.contract)
        scores = await _score(contender, rows)
        return feature_rows.write_invocation(scores, model.threshold, model.contract)

    def _serving(self, request: Request, model_name: str, endpoint: str) -> Serving:
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
        self, request: Request, serving: Serving | Contender
    ) -> tuple[str, Readings, dict[str, Any]]:
        explain, alarms = request.explain(), list[Alarm]()
        device, readings = read_request(await request.body())
        # In the event loop: it takes less time than a thread takes to be woken.
        answer = serving.predict(device, readings, None if explain is False else alarms)
        self._signer.sign(answer)
        for alarm in alarms:
            alarm.explain(each=bool(explain))
        return device, readings, answer

    async def _predict(self, request: Request, serving: Serving) -> dict[str, Any]:
        device, readings, answer = await self._answered(request, serving)
        if serving.trial:
            # When the client has its answer.
            request.afterwards = lambda: serving.compare(device, readings, answer)
        return answer

    async def _predict_batch(self, request: Request, serving: Serving) -> dict[str, Any]:
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
        self, request: Request, model_name: str, serving: Serving
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


def _nothing_at(request: Request) -> Refusal:
    path = request.scope["path"][:200]
    return Refusal(404, f"There is nothing at {path!r}; see /v1/models.")


def _health(request: Request, *, ready: bool) -> dict[str, bool]:
    request.status = 200 if ready else 503
    return {"ready": ready}


def _version(serving: Serving, version: str) -> Contender:
    contender = serving.version(version)
    if contender is None:
        name = serving.champion.live.deployment.model_name
        raise Refusal(404, f"Version {version[:80]!r} of {name} is not live.")
    return contender


async def _infer(request: Request, contender: Contender) -> Encoded:
    model, named = contender.live.model, contender.live.deployment
    length = request.headers.get(JSON_LENGTH)
    # Triton's client says no content type.
    body = await request.body(frozenset({JSON, BINARY, b""}))
    inference = feature_rows.read_inference(body, length, model.contract)
    scores = await _score(contender, inference.rows)
    return feature_rows.write_inference(
        inference, named.model_name, named.model_version, scores, model.threshold
    )


async def _score(contender: Contender, rows: np.ndarray) -> np.ndarray:
    """The scores of rows of features; other requests run as often as beside a batch."""
    scores = np.empty(len(rows))
    until = time.perf_counter() + BATCH_SECONDS
    for start in range(0, len(rows), BATCH_ROWS):
        block = slice(start, start + BATCH_ROWS)
        scores[block] = contender.score_rows(rows[block])
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + BATCH_SECONDS
    return scores


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
