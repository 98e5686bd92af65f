"""A Ray session for one step: on the cluster of `RAY_ADDRESS`, or on a Ray of our own.

This is the only module that depends on internals of Ray: the internal settings
`RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER`, `RAY_enable_worker_prestart` and
`RAY_prestart_worker_first_driver`; its handler for SIGTERM, which replaces ours; the place of its
sockets, below `_temp_dir`; and the message of the plain `Exception` that it raises if its processes
are too slow to start. `ray.init` has no public way to listen only on the loopback address, to
start no workers in advance, or to wait longer than its 30 seconds.
tests/servers/core/test_ray_session.py fails when an upgrade changes them; pyproject.toml pins the
version.
"""

import logging
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Ray reads this when it is imported.
if not os.environ.get("RAY_ADDRESS"):
    # What Ray sets on macOS: its processes listen on the loopback address alone.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray as ray  # other modules import it from here, after the line above
from filelock import FileLock, Timeout

from breezeway.core.errors import ServiceUnavailable

OBJECT_STORE_BYTES = 200 << 20
KNOCK_SECONDS = 5
FOLDER_PREFIX = "bz-"
NEW_SECONDS = 60
"""The owner of a younger folder may not have locked it yet."""
TOO_SLOW = "timed out during startup"
_TOKEN = secrets.token_hex(32)
"""The token that keeps others out of our own Ray. One per process, because Ray reads it once."""


@contextmanager
def ray_session(threads: int) -> Iterator[Path]:
    """Join the Ray cluster of `RAY_ADDRESS`, or start our own until the block ends.

    Yields:
        A temporary folder, removed at the end of the block.

    Raises:
        ServiceUnavailable: the cluster does not answer, or the machine is too busy to start our
            own Ray in time.
    """
    # Ray's sockets lie below this folder, and their paths must fit into 107 bytes.
    temporary = tempfile.gettempdir()
    base = Path(temporary if len(temporary) < 24 else "/tmp")
    _sweep(base)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=base))
    lock = FileLock(folder / "in-use")
    lock.acquire()
    environment, on_sigterm = os.environ.copy(), signal.getsignal(signal.SIGTERM)
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        _init(threads, folder)
        signal.signal(signal.SIGTERM, on_sigterm)  # replaces Ray's own
        yield folder
    except ConnectionError as error:
        raise ServiceUnavailable(f"Ray does not answer: {error}") from None
    except SystemExit:
        # If our handler raised while Ray's C++ was waiting, the status has become 1.
        if callable(on_sigterm):
            on_sigterm(signal.SIGTERM, None)
        raise
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ.update(environment)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _init(threads: int, folder: Path) -> None:
    address = os.environ.get("RAY_ADDRESS", "")
    _knock(address)
    options = {} if address else _own_ray(threads, folder)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:
        if TOO_SLOW not in str(error):
            raise
        raise ServiceUnavailable(
            "Ray did not start within its 30 seconds: this machine is too busy. Try again when "
            "less runs beside it."
        ) from error


def _sweep(base: Path) -> None:
    """Remove the folders of processes that were killed."""
    for folder in base.glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError, Timeout):
            if time.time() - folder.stat().st_mtime > NEW_SECONDS:
                with FileLock(folder / "in-use", timeout=0):
                    shutil.rmtree(folder)


def _knock(address: str) -> None:
    """Raise `ConnectionError` if nobody listens at an address; Ray itself would try for minutes.

    Args:
        address: `host:port`, `ray://host:port`, or a word such as `auto`, which is not checked.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
        except OSError as error:
            raise ConnectionError(f"RAY_ADDRESS={address}: {error}") from None


def _own_ray(threads: int, folder: Path) -> dict[str, Any]:
    """Set the environment that our own Ray inherits; return arguments of `ray.init`."""
    os.environ.update(
        # Set here, so that Ray writes no file into the home folder.
        RAY_AUTH_TOKEN=_TOKEN,
        # Workers started in advance have another environment than ours, so nobody would use them.
        RAY_enable_worker_prestart="0",
        RAY_prestart_worker_first_driver="0",
    )
    return {
        "num_cpus": threads,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "_temp_dir": str(folder / "ray"),
        # Ray starts later workers by a shell, and does not quote the path of the interpreter.
        "runtime_env": {"py_executable": shlex.quote(sys.executable)},
    }
