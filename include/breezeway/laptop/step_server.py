"""Starts steps as forks of a process that has imported their libraries already.

    python -m breezeway.laptop.step_server LIBRARY …

Imports are most of what a small step costs. Apart from them a fork is what a process of its own
is: it reads Breezeway's code anew, has its own arguments, environment, output, process group and
command line in `ps`, and ends as any program does. The server itself never reads what a step is
given, so that no step inherits another's secrets.

How a client asks for one: `core/forked_step.py`. Linux only: macOS allows no fork after much has
been imported.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import socket
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from setproctitle import getproctitle, setproctitle

from breezeway.core.forked_step import ADDRESS_VARIABLE, GO, HANDSHAKE_SECONDS, READY, Request

LIBRARIES = (
    *("pydantic_settings", "httpx", "sqlalchemy", "duckdb", "pyarrow.dataset", "matplotlib.figure"),
    *("mlflow", "xgboost", "onnx", "optuna", "evidently.presets"),
)
"""What steps import and is slow; the rest they import themselves. None may read variables of a
step's environment when it is imported, as BentoML does. A word each of the server's command line:
the kernel shows no longer one for a step."""
REQUEST_BYTES = 8 << 20
"""More than Linux allows for the arguments and the environment of a process."""


def main(libraries: Sequence[str]) -> NoReturn:
    """Serve until the installed packages change; then a new server has to be started."""
    codes: list[int] = []
    atexit.register(_leave, codes)  # the first, which Python calls last
    packages = Path(sysconfig.get_path("purelib"))
    installed = packages.stat().st_mtime_ns
    getproctitle()  # finds its place beside the environment, before a step changes that
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `detector/boosting.py`
    for library in libraries:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()  # what a collection in a child would touch, the kernel would copy
    address = Path(os.environ[ADDRESS_VARIABLE])
    aside = address.with_name(f"{address.name}.{os.getpid()}")
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(aside))
        listener.listen(64)
        aside.replace(address)
        for connection in _connections(listener, running):
            if packages.stat().st_mtime_ns != installed:
                connection.close()
                break
            if (pid := _fork()) == 0:
                for inherited in (listener, *running.values()):
                    inherited.close()
                _become_step(connection, codes)
            elif pid:
                running[pid] = connection
            else:
                connection.close()
    address.unlink(missing_ok=True)
    while running:
        pid, status = os.wait()
        _tell(running.pop(pid), status)
    sys.exit(0)


def _connections(
    listener: socket.socket, running: dict[int, socket.socket]
) -> Iterator[socket.socket]:
    """Each new one; meanwhile, the ends of running steps are told."""
    ended, on_end = socket.socketpair()
    on_end.setblocking(False)
    signal.set_wakeup_fd(on_end.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with ended, on_end:
        while True:
            readable, _, _ = select.select([listener, ended], [], [])
            if ended in readable:
                ended.recv(4096)
                while running and (end := os.waitpid(-1, os.WNOHANG))[0]:
                    _tell(running.pop(end[0]), end[1])
            if listener in readable:
                yield listener.accept()[0]


def _fork() -> int | None:
    """None if the kernel allows no more processes, or has no memory for one."""
    try:
        with warnings.catch_warnings():
            # Of threads; those of the libraries do nothing now, and hold no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            return os.fork()
    except OSError as error:
        print(f"No fork: {error}", flush=True)
        return None


def _leave(codes: list[int]) -> None:
    """End a step without the destructors of its libraries: one that waits for a thread that was not
    forked would never end. ONNX Runtime's does, where its telemetry is on."""
    if codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(codes[-1])


def _tell(connection: socket.socket, status: int) -> None:
    with connection, suppress(BrokenPipeError, ConnectionResetError):  # its task has ended
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _become_step(connection: socket.socket, codes: list[int]) -> NoReturn:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    codes.append(1)  # of an exception
    request, output = _receive(connection)
    os.setpgid(0, request.group)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    os.close(nothing)
    os.close(output)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    setproctitle(shlex.join(["python", "-m", request.module, *request.arguments]))
    connection.sendall(READY)
    if connection.recv(len(GO)) != GO:
        sys.exit(1)
    connection.close()
    if "numpy" in sys.modules:  # else all steps would draw the same numbers
        sys.modules["numpy"].random.seed()
    sys.argv = [request.module, *request.arguments]
    try:
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
    codes.append(0)
    sys.exit(0)


def _receive(connection: socket.socket) -> tuple[Request, int]:
    connection.settimeout(HANDSHAKE_SECONDS)
    line, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 1)
    while not line.endswith(b"\n"):
        more = connection.recv(1 << 16)
        if not more or len(line) > REQUEST_BYTES:
            sys.exit("A request that ends in its middle, or does not end.")
        line += more
    if len(descriptors) != 1:
        sys.exit("A request without a descriptor for the output.")
    return Request(*json.loads(line)), descriptors[0]


if __name__ == "__main__":
    main(sys.argv[1:])
