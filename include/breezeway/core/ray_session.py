"""A Ray session for one step: on the cluster of `RAY_ADDRESS`, or on a Ray of our own.

This is the one module that leans on what Ray does not promise: the settings
`RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER`, `RAY_enable_worker_prestart` and
`RAY_prestart_worker_first_driver`, which are internal; the handler that it puts in the place of
ours for SIGTERM; the place of its sockets, below `_temp_dir`; the words of the bare `Exception`
that says that its processes were too slow to start. `ray.init` has no public way to listen on the
loopback address alone, to start no worker ahead, or to wait longer than its 30 seconds.
tests/servers/core/test_ray_session.py fails when an upgrade changes them; pyproject.toml names the
one version.
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

# Read when Ray is imported.
if not os.environ.get("RAY_ADDRESS"):
    # What Ray sets on macOS: its processes listen on the loopback address alone.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray as ray  # whoever needs it takes it from here, after the line above
from filelock import FileLock, Timeout

from breezeway.core.errors import ServiceUnavailable

OBJECT_STORE_BYTES = 200 << 20
KNOCK_SECONDS = 5
FOLDER_PREFIX = "bz-"
NEW_SECONDS = 60
"""A younger folder may not have been locked yet by its owner."""
TOO_SLOW = "timed out during startup"
_TOKEN = secrets.token_hex(32)
"""Keeps others out of a Ray of our own. One a process: Ray reads it once."""


@contextmanager
def ray_session(threads: int) -> Iterator[Path]:
    """Start or join a Ray: the cluster of `RAY_ADDRESS`, or one of our own until the block ends.

    Yields:
        A folder for what is written down meanwhile, gone afterwards.

    Raises:
        ServiceUnavailable: the cluster does not answer, or the machine is too busy for a Ray of
            our own to start in time.
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
        signal.signal(signal.SIGTERM, on_sigterm)  # in the place of Ray's own
        yield folder
    except ConnectionError as error:
        raise ServiceUnavailable(f"Ray does not answer: {error}") from None
    except SystemExit:
        # Raised by the handler while Ray's C++ was waiting, it comes out with the status 1.
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
    """Raise `ConnectionError` if nobody listens at an address; Ray tries for minutes.

    Args:
        address: `host:port`, `ray://host:port`, or a word such as `auto`, which is not tried.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
        except OSError as error:
            raise ConnectionError(f"RAY_ADDRESS={address}: {error}") from None


def _own_ray(threads: int, folder: Path) -> dict[str, Any]:
    """Prepare what the processes of our own Ray inherit, and return arguments of `ray.init`."""
    os.environ.update(
        # Given here, it isn't left in the home folder.
        RAY_AUTH_TOKEN=_TOKEN,
        # Workers that it starts ahead have another environment than ours: nobody would use them.
        RAY_enable_worker_prestart="0",
        RAY_prestart_worker_first_driver="0",
    )
    return {
        "num_cpus": threads,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "_temp_dir": str(folder / "ray"),
        # Ray starts its later workers by a shell, and does not quote the interpreter's path.
        "runtime_env": {"py_executable": shlex.quote(sys.executable)},
    }
