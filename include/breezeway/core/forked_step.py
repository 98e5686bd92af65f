"""Asks the step server of a laptop (`laptop/step_server.py`) for a step.

In this order, over a Unix socket that only its owner reaches:

1. The client sends one line of JSON, `Request`, with the descriptor for the step's output.
2. The server forks; the child reads the line, joins the process group and says that it is ready.
3. The client says that it may go. If either has died, or waits too long, no step has begun.
4. The step runs. At its end the server sends its exit code.
"""

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

ADDRESS_VARIABLE = "BREEZEWAY_STEP_SERVER"
"""The path of its socket."""
READY, GO = b"ready\n", b"go\n"
HANDSHAKE_SECONDS = 10


class Request(NamedTuple):
    """A step to start: `python -m MODULE ARGUMENT …`.

    Args:
        environment: all of it.
        folder: to work in.
        group: the process group to join, of the server's session.
    """

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    group: int


class ForkedStep:
    """A step that a step server runs.

    Args:
        connection: to the server, which has said that the step may begin.
        output: what the step writes.
    """

    def __init__(self, connection: socket.socket, output: IO[str]):
        self._connection = connection
        self.stdout = output
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; that of SIGKILL if the server died. The step may run on then, until its
        process group is ended.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self._code is None:
            if timeout is not None and not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("step", timeout)
            try:
                code = self._connection.recv(16)
            except ConnectionResetError:
                code = b""
            self._connection.close()
            self._code = int(code) if code else -signal.SIGKILL
        return self._code


def start_step(address: str, request: Request) -> ForkedStep | None:
    """Start a step; None, and none has begun, if there is no server that would."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(HANDSHAKE_SECONDS)
    read, write = os.pipe()
    output = open(read, encoding="utf-8", errors="replace")  # noqa: SIM115 - the caller's
    try:
        connection.connect(address)
        line = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(connection, [line], [write])
        connection.sendall(line[sent:])
        if connection.recv(len(READY)) == READY:
            connection.sendall(GO)
            connection.settimeout(None)
            return ForkedStep(connection, output)
    except OSError:  # it is not there yet, is being started again, or hangs
        pass
    finally:
        os.close(write)
    output.close()
    connection.close()
    return None
