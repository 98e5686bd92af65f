"""A list of a dataset's files, written by anyone: what is accepted stays within its folder."""

import hashlib
import json
import posixpath
from pathlib import Path

import pytest

from breezeway.core.errors import DataError
from breezeway.datasets import dvc_objects
from tests.fixtures.fuzz import Round, rounds

PIECES = [
    "a",
    "A",
    "b",
    "..",
    ".",
    "",
    "/",
    "\\",
    "\0",
    "\ud800",
    "é",
    "e\u0301",
    "x" * 130,
    "~",
    "con",
]
VALUES = [None, 5, True, [], {}, "a", 1e400, "0" * 32, "f" * 32 + ".dir", "z" * 32]


def entry(chance: Round) -> object:
    name = "/".join(chance.choices(PIECES, k=chance.randint(1, 4)))
    made: dict[str, object] = {
        "md5": "0" * 32,
        "relpath": name if chance.random() < 0.9 else "part",
    }
    if chance.random() < 0.1:
        made[chance.choice(["md5", "relpath", "more"])] = chance.choice(VALUES)
    if chance.random() < 0.05:
        made.pop(chance.choice(list(made)))
    return made if chance.random() < 0.95 else chance.choice(VALUES)


def listing(chance: Round) -> bytes:
    """JSON of a few entries; some is cut, and some has other bytes in it."""
    text = json.dumps([entry(chance) for _ in range(chance.randrange(5))]).encode()
    if chance.random() < 0.1:
        at = chance.randrange(len(text))
        text = text[:at] + chance.randbytes(3) + text[at + chance.randrange(4) :]
    return text if chance.random() < 0.95 else text[: chance.randrange(len(text))]


@pytest.mark.fuzz
def test_what_is_accepted_stays_within_its_folder(tmp_path: Path) -> None:
    accepted = 0
    for chance in rounds(2000):
        text = listing(chance)
        hash = f"{hashlib.md5(text).hexdigest()}.dir"
        path = dvc_objects.object_path(tmp_path, hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        try:
            files = dvc_objects.listing(tmp_path, hash)
        except DataError:
            files = {}
        finally:
            path.unlink()
        accepted += bool(files)
        folder = {name.casefold() for name in files}
        assert len(folder) == len(files), chance.number
        for name, content in files.items():
            assert posixpath.normpath(name) == name, chance.number
            assert not name.startswith(("/", "..")) and "\0" not in name, chance.number
            assert not any(other.startswith(f"{name}/") for other in files), chance.number
            assert dvc_objects.FILE_HASH.fullmatch(content), chance.number
    assert accepted


@pytest.mark.parametrize("md5", VALUES[:-3] + VALUES[-2:])
def test_a_file_without_a_hash_is_refused(tmp_path: Path, md5: object) -> None:
    text = json.dumps([{"relpath": "part", "md5": md5}]).encode()
    hash = f"{hashlib.md5(text).hexdigest()}.dir"
    path = dvc_objects.object_path(tmp_path, hash)
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    with pytest.raises(DataError, match="is not the hash of a file"):
        dvc_objects.listing(tmp_path, hash)
