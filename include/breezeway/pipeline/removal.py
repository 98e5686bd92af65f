"""Removes what Breezeway has made on a machine, and nothing else.

All of it is in the home. What is there under another name than ours is somebody else's, and so are
stores that the settings name elsewhere. First each part is renamed into one folder, which is
removed then: a removal that was killed has left it, and the next one goes on with it. No start can
take a half of what was there for a whole.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from breezeway.core.errors import TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline.backups import REMOVED, SQLITE, elsewhere, held

MADE = {
    "airflow": "Airflow's configuration",
    "datasets": "datasets, as they are read",
    "datasets.git": "the versions of datasets",
    "deployments": "deployed models",
    "dvc-cache": "files of datasets",
    "dvc-remote": "files of datasets",
    "locks": "locks",
    "logs": "logs",
    "mlflow-artifacts": "models and reports",
    "postgres": "the database of Airflow and MLflow",
    "serving": "copies of deployed models",
    "work": "work in progress",
    REMOVED: "the rest of a removal that did not end",
    "run": "keys, passwords and addresses",
}
"""What is in a home: folder → what it holds. The keys go last: with them gone, a database that is
still there could not be opened. The contract of a restored backup stays: a person wrote it."""
RAW = re.compile(r"raw(-[a-z0-9-]+)?\.db(-journal|-shm|-wal)?")


@dataclass(frozen=True)
class Part:
    """A part of what is removed; `bytes` on the disk, those of linked files counted once."""

    path: Path
    holds: str
    bytes: int


@dataclass(frozen=True)
class Inventory:
    """What a removal takes, and what it leaves.

    Args:
        foreign: what is in the home and was not made by Breezeway.
        elsewhere: the stores that the settings name outside of the home, without passwords.
    """

    home: Path
    parts: tuple[Part, ...]
    foreign: tuple[Path, ...]
    elsewhere: tuple[str, ...]


def look(settings: Settings) -> Inventory:
    """Look at what there is to remove; nothing is changed.

    Raises:
        UsageError: there is nothing, or the folder is not only a home.
    """
    home = settings.root
    if home == Path.home() or (home / ".git").exists() or home.parent == home:
        raise UsageError(
            f"BREEZEWAY_HOME: {home} is not a folder for Breezeway alone, so what is Breezeway's "
            "there cannot be told from what is yours. Remove by hand what you do not need."
        )
    there = sorted(home.iterdir()) if home.is_dir() else []
    ours = [path for path in there if _is_made(path)]
    if not ours:
        raise UsageError(
            f"There is nothing of Breezeway in {home}. Another home is named by BREEZEWAY_HOME."
        )
    order = list(MADE)
    ours.sort(key=lambda path: order.index(path.name) if path.name in MADE else -1)
    seen: set[tuple[int, int]] = set()
    parts = (Part(path, MADE.get(path.name, "raw readings"), _size(path, seen)) for path in ours)
    return Inventory(
        home, tuple(parts), tuple(sorted(set(there) - set(ours))), tuple(elsewhere(settings))
    )


def remove(settings: Settings, found: Inventory) -> None:
    """Remove the parts, and the home if nothing is left in it. It may be killed, and run again.

    Raises:
        UsageError: a platform runs in the home, or a killed one left processes.
        TryAgain: a platform starts or stops, or another command works there.
    """
    home, aside = found.home, found.home / REMOVED
    (home / "run").mkdir(exist_ok=True)  # of a home in which no platform was ever started
    with held(home) as runs:
        if runs:
            raise UsageError(
                f"A platform runs in {home}. Stop it with Ctrl-C where it was started, then try "
                "again."
            )
        with _nobody_works(home):
            aside.mkdir(exist_ok=True)
            for path in (*(part.path for part in found.parts), home / "run"):
                if path != aside and path.exists():
                    shutil.rmtree(aside / path.name, ignore_errors=True)
                    path.replace(aside / path.name)
            shutil.rmtree(aside)
    if not any(home.iterdir()):
        home.rmdir()


def _is_made(path: Path) -> bool:
    """Whether a path in a home is ours. Breezeway makes no link there: who did, removes it."""
    if path.is_symlink():
        return False
    if path.name in MADE:
        return path.is_dir()
    if not RAW.fullmatch(path.name) or not path.is_file():
        return False
    database = path.with_name(path.name.partition(".db")[0] + ".db")
    return database.is_file() and _begins_as_sqlite(database)


def _begins_as_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE)) in (SQLITE, b"")


def _size(path: Path, seen: set[tuple[int, int]]) -> int:
    """Bytes on the disk of a file, or of a folder with all below it, without following links."""
    size = 0
    paths = [str(path)]
    for parent, folders, files in os.walk(path):
        paths += [os.path.join(parent, name) for name in (*folders, *files)]
    for each in paths:
        try:
            status = os.lstat(each)
        except FileNotFoundError:
            continue  # a running platform has removed it
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            size += status.st_blocks * 512
    return size


@contextmanager
def _nobody_works(home: Path) -> Iterator[None]:
    """Hold every lock of the home, so that no command works in it.

    Raises:
        TryAgain: one does.
    """
    locks = [FileLock(path) for path in (*home.glob("locks/*.lock"), *home.glob("work/.*/*.lock"))]
    try:
        for lock in locks:
            lock.acquire(timeout=0)
        yield
    except Timeout as error:
        name = Path(error.lock_file).relative_to(home)
        raise TryAgain(
            f"Another command works in {home}: it holds {name}. Wait for it, or stop it."
        ) from None
    finally:
        for lock in locks:
            lock.release()
