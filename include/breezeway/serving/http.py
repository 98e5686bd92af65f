"""One HTTP request of an ASGI application: its body, within limits, and the answer to it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import orjson

from breezeway.serving.refusal import Refusal

JSON, BINARY = b"application/json", b"application/octet-stream"
JSON_LENGTH = b"inference-header-content-length"
"""The header that says where JSON ends and binary tensors begin."""
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


class Disconnected(Exception):
    """The client went away before its request was complete."""


@dataclass(frozen=True)
class Encoded:
    """An answer as bytes: JSON, behind which binary tensors may stand.

    Args:
        content: all of it.
        json_length: of its JSON, if there are tensors behind it.
    """

    content: bytes
    json_length: int | None


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

    async def body(self, kinds: frozenset[bytes] = frozenset({JSON})) -> bytes:
        """The whole body.

        Args:
            kinds: the content types that are taken; empty: none is said.

        Raises:
            Refusal: 415 if it does not say that it is one of these, or is compressed; 413 as soon
                as it is known to be too large; 408 if it arrives too slowly; 503 if other
                requests hold too much.
            Disconnected: the client went away.
        """
        # A browser sends JSON to another site only after it has asked that site.
        if self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() not in kinds:
            expected = b" or ".join(sorted(filter(None, kinds))).decode()
            raise Refusal(415, f"Expected: `Content-Type: {expected}`.")
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refusal(415, "Content-Encoding: a compressed body is not taken.")
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
        if isinstance(body, Encoded):
            headers = [(b"content-type", JSON)]
            if body.json_length is not None:
                length = str(body.json_length).encode()
                headers = [(b"content-type", BINARY), (JSON_LENGTH, length)]
            await send_whole(send, status, body.content, headers)
            return
        headers = [(b"content-type", JSON)]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append((b"allow", body["allowed"].encode()))
        elif status == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        await send_whole(send, status, orjson.dumps(body), headers)


async def send_whole(
    send: Send, status: int, content: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    """Send an answer."""
    headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _too_large() -> Refusal:
    return Refusal(413, f"The body is larger than {BODY_LIMIT_BYTES} bytes.")
