"""Copies hold what was hashed, and an error names the file that it is about."""

import errno
import hashlib
from pathlib import Path

import pytest

from breezeway.datasets import dvc_objects


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "part.parquet"
    file.write_bytes(bytes(range(256)) * 4096)
    return file


def test_each_copy_holds_what_was_hashed(source, tmp_path):
    copies = [tmp_path / "cache", tmp_path / "remote"]
    content = dvc_objects._copy(source, copies)
    assert content.size == source.stat().st_size
    for copy in copies:
        assert hashlib.md5(copy.read_bytes()).hexdigest() == content.hash


def test_a_full_disk_is_named_by_the_copy(source):
    with pytest.raises(OSError) as failed:
        dvc_objects._copy(source, [Path("/dev/full")])
    assert (failed.value.errno, failed.value.filename) == (errno.ENOSPC, "/dev/full")


def test_what_went_away_is_named_by_the_source(tmp_path):
    with pytest.raises(FileNotFoundError) as failed:
        dvc_objects._copy(tmp_path / "gone", [tmp_path / "copy"])
    assert Path(failed.value.filename) == tmp_path / "gone"
