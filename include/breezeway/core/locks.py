"""Locks between processes: only the holder of a lock may write."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from breezeway.core.errors import TryAgain
from breezeway.core.settings import Settings


@contextmanager
def exclusive(settings: Settings, name: str) -> Iterator[None]:
    """Hold a lock that the operating system releases with its process.

    It excludes other processes of this host. It excludes those of other hosts only if they share
    `home` on a file system that supports `flock`.

    Raises:
        TryAgain: another process held it for longer than `lock_wait_seconds`.
    """
    settings.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.locks / f"{name}.lock", timeout=settings.lock_wait_seconds)
    try:
        lock.acquire()
    except Timeout:
        raise TryAgain(
            f"Another process has held {name!r} for {settings.lock_wait_seconds:g} s."
        ) from None
    try:
        yield
    finally:
        lock.release()
