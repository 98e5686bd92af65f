"""What a client may take of the model server: bytes and time for a request, and connections.

uvicorn bounds none of these: the head of a request may have any size and take for ever, and it is
read before anybody is asked for a token. This module leans on parts of uvicorn's protocol that it
does not promise: its parser's callbacks, `on_response_complete`, and the attributes `connections`,
`cycle`, `flow`, `headers` and `pipeline`. pyproject.toml bounds the version, and
tests/servers/serving/test_connections.py fails when an upgrade changes them.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SWEEP_SECONDS = 1.0
"""How often it is looked for connections whose time is over."""


@dataclass
class Phase:
    """Connections that are in the same phase of a request, those first that came first.

    Args:
        seconds: how long a connection may be in it.
    """

    seconds: float
    since: "OrderedDict[Connection, float]" = field(default_factory=OrderedDict)


@dataclass
class Limits:
    """The limits of one server, and who is subject to them.

    Args:
        head_bytes: of the request line and the headers, and of what else is no body: the
            extensions of chunks, and trailers.
        headers: lines of a head.
        pipelined: requests that wait for the answer to the one before.
        connections: with one more, the one that has waited longest for its client is closed.
    """

    head_bytes: int = 16 * 1024
    headers: int = 100
    pipelined: int = 16
    connections: int = 800  # below the 1024 files that a process may usually open
    idle: Phase = field(default_factory=lambda: Phase(75.0))
    """Between two requests. Proxies keep connections for 60 s; they have to close them first."""
    head: Phase = field(default_factory=lambda: Phase(10.0))
    """From the connection, or from a request's first byte, to the end of its head."""
    body: Phase = field(default_factory=lambda: Phase(15.0))
    """To the end of the body: longer than the application waits for one, which answers first."""
    answer: Phase = field(default_factory=lambda: Phase(60.0))
    """To the end of the answer. Only a client that does not read is cut off."""
    _sweep: asyncio.TimerHandle | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look for connections whose time is over, from now on and as long as there are any."""
        if self._sweep is None:
            self._sweep = loop.call_later(SWEEP_SECONDS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep = None
        now = loop.time()
        phases = (self.idle, self.head, self.body, self.answer)
        for phase in phases:
            while phase.since:
                connection, since = next(iter(phase.since.items()))
                if now - since < phase.seconds:
                    break
                if phase is self.answer and not connection.flow.write_paused:
                    connection.enter(phase)  # the server's own work takes long
                else:
                    connection.end()
        if any(phase.since for phase in phases):
            self.watch(loop)

    def make_room(self) -> None:
        """Close the connection that has waited longest for its client."""
        for phase in (self.idle, self.head, self.body):
            if phase.since:
                next(iter(phase.since)).end()
                return


class Connection(HttpToolsProtocol):
    """One client's connection.

    Args:
        limits: those of the server, which all its connections share.
        uvicorn: what uvicorn gives its protocol.
    """

    def __init__(self, *, limits: Limits, **uvicorn: Any):
        super().__init__(**uvicorn)
        self._limits = limits
        self._phase: Phase | None = None
        self._begins = False
        """Whether a request has begun since the phase was last entered."""
        self._in_head = self._in_message = False
        self._overhead = 0
        """Bytes since the last byte of a body: of a head, of a chunk's extension, of trailers."""

    def enter(self, phase: Phase | None) -> None:
        """Be in a phase from now on; None: in none."""
        if self._phase:
            self._phase.since.pop(self, None)
        self._phase = phase
        self._begins = False
        if phase:
            phase.since[self] = self.loop.time()

    def end(self) -> None:
        """Close the connection at once, whatever has not been sent yet."""
        self.enter(None)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.enter(self._limits.head)
        if len(self.connections) > self._limits.connections:
            self._limits.make_room()
        self._limits.watch(self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        self.enter(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        limits = self._limits
        for start in range(0, len(data), limits.head_bytes):
            piece = data[start : start + limits.head_bytes]
            self._overhead += len(piece)
            super().data_received(piece)
            if self.transport.is_closing():
                return
            if (
                self._overhead > limits.head_bytes
                or (self._in_message and len(self.headers) > limits.headers)
                or len(self.pipeline) > limits.pipelined
            ):
                self._refuse()
                return
        self._settle()

    def _refuse(self) -> None:
        if self._in_head and (self.cycle is None or self.cycle.response_complete):
            error = b'{"error":"The head of the request is larger than this server takes."}'
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"content-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(error), error)
            )
        self.transport.close()

    def _settle(self) -> None:
        """Enter the phase that this connection is in now."""
        if self._in_head:
            phase = self._limits.head
        elif self._in_message:
            phase = self._limits.body
        elif self.cycle and not self.cycle.response_complete:
            phase = self._limits.answer
        else:
            phase = self._limits.idle
        if self._begins or phase is not self._phase:
            self.enter(phase)

    def on_message_begin(self) -> None:
        self._begins = self._in_head = self._in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        self._overhead = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.cycle.body.clear()  # what came after the answer was given
        if not self.transport.is_closing():
            self._settle()
