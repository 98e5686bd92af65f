"""Files named by their hash, as in DVC's cache and in a remote that is a folder.

Written by hand because DVC's own commands do not guarantee this: exactly what was hashed is copied,
the copies are compared with the source, the source does not change, and no process is started.
`docs/decisions/dvc-objects.md` has the figures (`make bench ONLY=publish`). DVC's own commands can
read the result, and `dvc add` gives the same `data.dvc`; tests check both.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from breezeway.core.errors import DataError, ServiceUnavailable
from breezeway.core.names import paths_mistake

CHUNK_BYTES = 1 << 18
LISTING_BYTES = 64 << 20
FILE_HASH = re.compile("[0-9a-f]{32}")
FOLDER_HASH = re.compile(r"[0-9a-f]{32}\.dir")
READ_ONLY = 0o444
"""DVC trusts a file with this mode without hashing it again."""


class Content(NamedTuple):
    """The content of a file: MD5 in hex, and size in bytes."""

    hash: str
    size: int


def object_path(store: Path, hash: str) -> Path:
    """The path of a hash's content in a DVC cache, or in a remote that is a folder."""
    return store / "files" / "md5" / hash[:2] / hash[2:]


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def is_whole(store: Path, hash: str) -> bool:
    path = object_path(store, hash)
    return path.is_file() and file_hash(path) == hash.removesuffix(".dir")


def drop_damaged(store: Path, hashes: Collection[str]) -> None:
    for hash in hashes:
        if object_path(store, hash).exists() and not is_whole(store, hash):
            object_path(store, hash).unlink(missing_ok=True)


def file_names(folder: Path) -> list[str]:
    """The files below a folder, by relative path with `/`; empty if there are none."""
    start = len(os.path.join(folder, ""))
    return sorted(
        os.path.join(place, name)[start:].replace(os.sep, "/")
        for place, _, names in os.walk(folder)
        for name in names
    )


def file_hashes(folder: Path) -> dict[str, str]:
    """MD5 of each file below a folder, by relative path with `/`; empty if there are none."""
    return {name: file_hash(folder / name) for name in file_names(folder)}


def folder_hash(files: Mapping[str, str]) -> str:
    """DVC's hash of a folder with these files."""
    return f"{_md5(_listing_text(files)).hexdigest()}.dir"


def listing(store: Path, hash: str) -> dict[str, str]:
    """The hashes of the files of an added folder, by its own hash; empty if it is not there.

    Raises:
        DataError: a file would lie outside of the folder, or has no hash: see `paths_mistake`.
    """
    path = object_path(store, hash)
    if path.is_file() and path.stat().st_size > LISTING_BYTES:
        raise DataError(f"The list {hash} of a dataset's files is over {LISTING_BYTES} bytes.")
    if not is_whole(store, hash):
        return {}
    try:
        entries = json.loads(path.read_bytes())
        files = [(entry["relpath"], entry["md5"]) for entry in entries]
        mistake = paths_mistake([name for name, _ in files])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise DataError(f"The list {hash} of a dataset's files is not one of DVC.") from None
    wrong = [h for _, h in files if not isinstance(h, str) or not FILE_HASH.fullmatch(h)]
    if wrong:
        mistake = f"{str(wrong[0])[:200]!r} is not the hash of a file: expected 32 digits of MD5"
    if mistake:
        raise DataError(f"The list {hash} of a dataset's files is refused: {mistake}.")
    return dict(files)


def add(folder: Path, stores: Mapping[Path, Path], threads: int) -> dict[str, Content]:
    """Copy a folder's files, and the list of them, to stores.

    A file gets the name of its hash only when it is complete. A damaged file with that name is
    replaced, a good one stays.

    Args:
        stores: for each store an empty folder on its file system.

    Returns:
        The content of each file, by its path with `/`.

    Raises:
        DataError: the folder changed while it was copied, or the name of a file is not allowed.
        ServiceUnavailable: a store returns other bytes than were written to it.
        OSError: of a disk; `filename` names the file.
    """
    names = file_names(folder)
    if mistake := paths_mistake(names):
        raise DataError(f"{folder} can't be published: {mistake}.")
    sources = [folder / name for name in names]
    asides = [[aside / str(number) for aside in stores.values()] for number in range(len(names))]
    try:
        with ThreadPoolExecutor(threads) as pool:  # reading, writing and hashing run in parallel
            contents = list(pool.map(_copy, sources, asides))
            list(pool.map(partial(_keep, stores), sources, asides, contents))
    except FileNotFoundError as error:
        if folder in Path(error.filename).parents:
            raise DataError(f"{error.filename} went away while it was being published.") from None
        raise
    if file_names(folder) != names:
        raise DataError(f"{folder} got or lost files while it was being published.")
    files = dict(zip(names, contents, strict=True))
    _add_listing(stores, {name: content.hash for name, content in files.items()})
    return files


def _copy(source: Path, copies: Sequence[Path]) -> Content:
    """Copy a file to the first place, from there to the next, and hash the first copy.

    So all copies have the hashed content, even if the source changes meanwhile. The system call
    that copies takes a third of the CPU of reading and writing here.
    """
    for read, written in pairwise([source, *copies]):
        try:
            shutil.copyfile(read, written)
        except OSError as error:
            if error.filename is None or error.filename2 is not None:
                error.filename = str(written)  # not while opening: a disk is full, or gone
            raise
    return Content(file_hash(copies[0]), copies[0].stat().st_size)


def _keep(stores: Collection[Path], source: Path, copies: list[Path], content: Content) -> None:
    """Give a file's copies their names, unless the file or its last copy has changed.

    The last copy is that in the remote, which nobody else checks: whoever opens a version verifies
    only the files on their own machine.
    """
    if not _are_alike(source, copies[-1], content.size):
        if file_hash(source) != content.hash:
            raise DataError(f"{source} changed while it was being published.")
        raise ServiceUnavailable(f"{copies[-1]} does not hold what was written to it.")
    _name(stores, copies, content.hash)


def _are_alike(one: Path, other: Path, size: int) -> bool:
    """Compare byte by byte; a hash of the copy would take five times the CPU."""
    chunks = [bytearray(min(size + 1, CHUNK_BYTES)) for _ in range(2)]
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        while count := first.readinto(chunks[0]):
            # Behind the last byte read, both chunks hold equal bytes of the read before.
            if second.readinto(chunks[1]) != count or chunks[0] != chunks[1]:
                return False
        return second.readinto(chunks[1]) == 0


def _name(stores: Collection[Path], copies: list[Path], hash: str) -> None:
    for store, copy in zip(stores, copies, strict=True):
        path = object_path(store, hash)
        if is_whole(store, hash):
            copy.unlink()  # other versions have this file; theirs are links to it
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            copy.chmod(READ_ONLY)
            copy.replace(path)


def _add_listing(stores: Mapping[Path, Path], hashes: Mapping[str, str]) -> None:
    copies = [aside / "listing" for aside in stores.values()]
    for copy in copies:
        copy.write_bytes(_listing_text(hashes))
    _name(stores, copies, folder_hash(hashes))


def link(store: Path, files: Mapping[str, Content], into: Path) -> None:
    """Create a folder with a store's files: links if the disk allows them, else copies."""
    for name, content in files.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.hardlink_to(object_path(store, content.hash))
        except OSError:
            shutil.copy(object_path(store, content.hash), path)


def pointer(files: Mapping[str, Content], name: str) -> str:
    """The text that `dvc add` writes to `<name>.dvc` for a folder with these files."""
    out = {
        "md5": folder_hash({name: content.hash for name, content in files.items()}),
        "size": sum(content.size for content in files.values()),
        "nfiles": len(files),
        "hash": "md5",
        "path": name,
    }
    return yaml.safe_dump({"outs": [out]}, sort_keys=False)


def _listing_text(hashes: Mapping[str, str]) -> bytes:
    entries = [{"md5": hashes[name], "relpath": name} for name in sorted(hashes)]
    return json.dumps(entries, sort_keys=True).encode()


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)
