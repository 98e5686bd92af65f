"""A backup of all that a home holds, made beside a running platform too; and a home made of one.

A backup is a tar archive with gzip. Its last member lists all others with their hashes, so one that
is cut off, or was changed, is known as such. What points to other files is copied before them: the
databases before artifacts, tags before the files of datasets.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from breezeway.core.errors import DataError, ServiceUnavailable, TryAgain, UsageError
from breezeway.core.files import writing
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings, redacted
from breezeway.deployment.store import lock_name
from breezeway.laptop import postgres
from breezeway.laptop.platform import running_platform
from breezeway.laptop.processes import marked
from breezeway.laptop.programs import LOOPBACK

log = logging.getLogger("breezeway")

LIST = "backup.json"
KEYS = "run/keys.json"
DATABASE = "postgres/data"
REMOVED = ".uninstalled"
"""Folder of what a removal of the home (`removal.py`) had taken away when it was killed."""
MADE_AGAIN = {
    *("datasets", "dvc-cache", "locks", "logs", "postgres", "run", "serving", "work"),
    REMOVED,
}
"""Folders of a home that a start, or their next use, makes again; the keys and the database, which
are in two of them, are copied by themselves."""
OF_A_SERVER = {"postmaster.pid", "postmaster.opts"}
SQLITE = b"SQLite format 3\0"
SQLITE_SIDES = ("-journal", "-shm", "-wal")
COPY_SECONDS = 3600
"""For a copy of the database; that of a year takes seconds."""
CHUNK = 1 << 20
LONGEST_LIST = 256 << 20
"""Bytes: the list of more than a million files."""
NO_FILE = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
"""Errors of names that no backup of ours has."""


class BackupList(BaseModel):
    """The last member of a backup.

    Args:
        release: of the Breezeway that made it.
        made_at: ISO 8601, UTC.
        sensors: the path of the contract in the backup; empty for one that comes with Breezeway.
        files: path in the home → SHA-256, in hex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str
    made_at: str
    sensors: str
    files: dict[str, str]


def back_up(settings: Settings, file: Path) -> dict[str, Any]:
    """Write a backup of the home. Killed at any point, it leaves no file of that name.

    Args:
        file: does not exist yet. It holds secrets, so only its owner may read it.

    Returns:
        `file`, its `bytes`, the number of `files` in it, `bytes_of` each part of the home, and
        `not_in_it`: the stores that are elsewhere, without their passwords.

    Raises:
        UsageError: the file exists or has no folder, or there is nothing to back up.
        TryAgain: the platform is starting or stopping, or a deployment takes too long.
        ServiceUnavailable: the database cannot be copied, or the disk is full.
    """
    home = settings.root
    if file.exists():
        raise UsageError(f"{file} exists already: name another file.")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}.")
    if not (home / KEYS).is_file():
        raise UsageError(f"There is nothing to back up in {home}: no platform was started there.")
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with ExitStack() as stack:
        runs = stack.enter_context(held(home))
        copies = stack.enter_context(TemporaryDirectory(".copies", f".{file.name}", file.parent))
        stack.callback(aside.unlink, missing_ok=True)
        opened = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with writing(aside), open(opened, "wb") as raw:
            with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar:
                archive = _Archive(tar)
                _add_home(settings, archive, Path(copies), runs=runs)
            raw.flush()
            os.fsync(raw.fileno())
        aside.rename(file)
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "files": len(archive.hashes),
        "bytes_of": dict(sorted(archive.bytes_of.items())),
        "not_in_it": list(elsewhere(settings)),
    }


@contextmanager
def held(home: Path) -> Iterator[bool]:
    """Whether a platform runs in the home; while none does, none can start."""
    lock = FileLock(home / "run" / "launcher.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not running_platform(home):
            raise TryAgain(f"The platform in {home} is starting or stopping: try again.") from None
        yield True
        return
    with lock:
        if left := marked(home):
            raise UsageError(
                f"A platform that was killed in {home} left {len(left)} processes, which may still "
                "write. The next start ends them: start it once, then try again."
            )
        yield False


class _Archive:
    """Adds files to a tar archive, and keeps their hashes."""

    def __init__(self, tar: tarfile.TarFile):
        self._tar = tar
        self.hashes: dict[str, str] = {}
        self.bytes_of: Counter[str] = Counter()

    def add(self, path: Path, name: str) -> None:
        """Add a file. One that its owner has removed meanwhile is left out, and so is what is no
        file, such as a socket."""
        if not path.is_file():
            return
        try:
            source = path.open("rb")
        except FileNotFoundError:
            return
        with source:
            info = self._tar.gettarinfo(arcname=name, fileobj=source)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            hashing = _Hashing(source)
            self._tar.addfile(info, hashing)
        self.hashes[name] = hashing.sha256.hexdigest()
        self.bytes_of[name.partition("/")[0]] += info.size

    def add_folder(self, folder: Path, name: str) -> None:
        """Add all files below a folder, and the folders, for git asks for empty ones too."""
        for parent, folders, files in os.walk(folder):
            place = Path(name, Path(parent).relative_to(folder))
            info = tarfile.TarInfo(str(place))
            info.type = tarfile.DIRTYPE
            self._tar.addfile(info)
            folders.sort()
            for file in sorted(files):
                if file not in OF_A_SERVER and not Path(parent, file).is_symlink():
                    self.add(Path(parent, file), str(place / file))

    def add_list(self, sensors: str) -> None:
        listed = BackupList(
            release=version("breezeway"),
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            sensors=sensors,
            files=self.hashes,
        )
        content = listed.model_dump_json(indent=1).encode()
        info = tarfile.TarInfo(LIST)
        info.size = len(content)
        self._tar.addfile(info, BytesIO(content))


class _Hashing:
    """A file that keeps the hash of what is read of it."""

    def __init__(self, source: IO[bytes]):
        self._source, self.sha256 = source, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(size)
        self.sha256.update(content)
        return content


def _add_home(settings: Settings, archive: _Archive, copies: Path, *, runs: bool) -> None:
    home = settings.root
    archive.add(home / KEYS, KEYS)
    database = home / DATABASE
    if runs:
        database = copies / "database"
        _copy_database(home, database)
    archive.add_folder(database, DATABASE)
    repository = Path(settings.repository_address)
    if repository.is_dir() and repository.parent == home:
        mirror = copies / "datasets.git"
        command: list[str | Path] = [
            "git",
            "clone",
            "--quiet",
            "--mirror",
            "--no-hardlinks",
            repository,
            mirror,
        ]
        _run(command, "The repository of dataset versions", dict(os.environ))
        shutil.copyfile(repository / "config", mirror / "config")
        archive.add_folder(mirror, repository.name)
    for path in sorted(home.iterdir()):
        if path.name in MADE_AGAIN or path == repository or path.name.endswith(SQLITE_SIDES):
            continue
        if path == settings.deployments:
            _add_deployments(settings, archive)
        elif path.is_dir():
            archive.add_folder(path, path.name)
        elif path.is_file() and _is_sqlite(path):
            copy = copies / path.name
            _copy_sqlite(path, copy)
            archive.add(copy, path.name)
            copy.unlink()
        else:
            archive.add(path, path.name)
    contract = settings.sensors.resolve()
    comes_with_us = contract.parent == Settings.shipped_sensors.resolve()
    sensors = "" if comes_with_us else f"contracts/{contract.name}"
    if sensors:
        archive.add(contract, sensors)
    archive.add_list(sensors)


def _add_deployments(settings: Settings, archive: _Archive) -> None:
    for folder in sorted(settings.deployments.iterdir()):
        with exclusive(settings, lock_name(folder.name)):
            archive.add_folder(folder, f"{settings.deployments.name}/{folder.name}")


def _copy_database(home: Path, into: Path) -> None:
    """Copy the database as it is at one moment, while its server runs."""
    port = (home / DATABASE / "postmaster.pid").read_text().splitlines()[3]
    password = json.loads((home / KEYS).read_text())["database"]
    command: list[str | Path] = [
        *(postgres.program("pg_basebackup"), f"--pgdata={into}", f"--host={LOOPBACK}"),
        *(f"--port={port}", f"--username={postgres.USER}", "--no-password", "--no-manifest"),
        *("--checkpoint=fast", "--wal-method=stream"),
    ]
    _run(command, "The database", os.environ | {"PGPASSWORD": password})


def _run(command: list[str | Path], what: str, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=COPY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServiceUnavailable(f"{what} was not copied within {COPY_SECONDS} s.") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise ServiceUnavailable(f"{what} cannot be copied: {said}")


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def _copy_sqlite(path: Path, into: Path) -> None:
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=60)) as source,
        closing(sqlite3.connect(into)) as target,
    ):
        try:
            source.backup(target)
        except sqlite3.OperationalError as error:
            raise ServiceUnavailable(f"{path} cannot be copied: {error}.") from None


def elsewhere(settings: Settings) -> Iterator[str]:
    """The stores of these settings that are not in the home."""
    for what, address in (
        ("raw store", settings.raw_address),
        ("repository of dataset versions", settings.repository_address),
        ("files of datasets", settings.remote_address),
    ):
        if not Path(address.removeprefix("sqlite:///")).is_relative_to(settings.root):
            yield f"{what}: {redacted(address)}"


def restore(settings: Settings, file: Path) -> dict[str, Any]:
    """Make the home of a backup. Killed at any point, it leaves no home.

    Returns:
        `home`, the number of `files`, `release` and `made_at` of the backup, and `sensors`: the
        contract that it was used with, None for one that comes with Breezeway.

    Raises:
        UsageError: there is no such file, or the home is not empty.
        DataError: the file is no backup, or is not whole.
        ServiceUnavailable: the disk is full.
    """
    home = settings.root
    if not file.is_file():
        raise UsageError(f"There is no file {file}.")
    if home.is_dir() and any(home.iterdir()):
        raise UsageError(
            f"{home} is not empty. Move it away, or name another home by BREEZEWAY_HOME."
        )
    aside = home.with_name(f".{home.name}.restored-{os.getpid()}")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, aside, ignore_errors=True)
        aside.mkdir(parents=True, mode=0o700)
        listed, found = _unpack(file, aside)
        _compare(file, listed.files, found)
        if home.is_dir():
            home.rmdir()
        aside.rename(home)
    return {
        "home": str(home),
        "files": len(found),
        "release": listed.release,
        "made_at": listed.made_at,
        "sensors": str(home / listed.sensors) if listed.sensors else None,
    }


def _unpack(file: Path, into: Path) -> tuple[BackupList, dict[str, str]]:
    """Write the members of a backup; return its list, and the hashes of what was written."""
    listed: BackupList | None = None
    found: dict[str, str] = {}
    try:
        with tarfile.open(file, "r:gz") as tar:
            for member in tar:
                if listed is not None or member.name in found:
                    raise DataError(f"{file}: {member.name!r} stands where no backup has it.")
                if member.name == LIST:
                    listed = _read_list(tar, member)
                    continue
                tarfile.data_filter(member, str(into))  # refuses what would leave the folder
                path = into / member.name
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True, mode=0o700)
                elif member.isreg():
                    found[member.name] = _write(tar, member, path)
                else:
                    raise DataError(f"{file}: {member.name!r} is neither a file nor a folder.")
            _read_to_the_end(tar)
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{file} is no backup, or is not whole: {error}") from None
    except OSError as error:
        if error.errno in NO_FILE or error.errno is None:  # the latter is gzip's own
            raise DataError(f"{file} is no backup, or is not whole: {error}") from None
        raise
    if listed is None:
        raise DataError(f"{file} is no backup, or is not whole: it has no {LIST}.")
    return listed, found


def _read_to_the_end(tar: tarfile.TarFile) -> None:
    """gzip compares its checksum there, which covers what no hash of a file does, such as the
    padding between members; `tarfile` itself stops before it."""
    assert tar.fileobj is not None  # it is open
    if len(tar.fileobj.read(tarfile.RECORDSIZE + 1)) > tarfile.RECORDSIZE:
        raise tarfile.TarError("more follows its end")


def _read_list(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BackupList:
    source = tar.extractfile(member)
    content = source.read(LONGEST_LIST + 1) if source else b""
    if len(content) > LONGEST_LIST:
        raise tarfile.TarError(f"{LIST} has more than {LONGEST_LIST} bytes")
    try:
        return BackupList.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise tarfile.TarError(f"{LIST}: {where}: {first['msg']}") from None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    source = tar.extractfile(member)
    assert source is not None  # it is a file
    hashing = _Hashing(source)
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, member.mode & 0o700 | 0o600)
    with writing(path), open(opened, "wb") as target:
        shutil.copyfileobj(hashing, target, CHUNK)
    return hashing.sha256.hexdigest()


def _compare(file: Path, listed: dict[str, str], found: dict[str, str]) -> None:
    for name in sorted(listed.keys() | found.keys()):
        if listed.get(name) != found.get(name):
            raise DataError(f"{file}: {name!r} is not what was backed up: the file was changed.")
    if KEYS not in listed:
        raise DataError(f"{file} is no backup of a home: it has no {KEYS}.")
