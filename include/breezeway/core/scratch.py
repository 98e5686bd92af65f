"""Temporary folders in the work folder; one that its process could not remove does not stay."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings

OWNER = "owner.lock"
"""The file in such a folder that its process holds locked."""


@contextmanager
def scratch(settings: Settings, name: str) -> Iterator[Path]:
    """A new folder, removed afterwards; those of its name whose processes were killed go first.

    Args:
        name: what the folder is for. A dot before it distinguishes it from the folders of tags.

    Raises:
        TryAgain: others were making or removing such folders for too long.
    """
    settings.work.mkdir(parents=True, exist_ok=True)
    with exclusive(settings, f"{name}-folders"):
        _sweep(settings.work, name)
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=settings.work))
        owner = FileLock(folder / OWNER)
        owner.acquire(blocking=False)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        owner.release()


def _sweep(work: Path, name: str) -> None:
    for folder in work.glob(f".{name}-*"):
        owner = FileLock(folder / OWNER)
        try:
            owner.acquire(blocking=False)
        except (Timeout, FileNotFoundError):  # in use, or its owner has just removed it
            continue
        # An orphan of its process may still write there; then the next one removes the rest.
        shutil.rmtree(folder, ignore_errors=True)
        owner.release()
