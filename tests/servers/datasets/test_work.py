"""What is published leaves the work folder, wherever an attempt is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import history, versions, work

DAY = date(2026, 3, 1)
RAW = {"rows": 7, "first_time": None, "last_time": None, "sha256": ""}
MANIFEST = {"contract": "plant", "query": "SELECT 1", "raw": RAW, "rows": 7}
MANIFEST |= {"quarantined": 0, "reasons": {}, "features": []}

KILLED = """
import os, signal, sys
from pathlib import Path
from breezeway.core.settings import Settings
from breezeway.datasets import work

home, folder, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
unlink = os.unlink

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def unlink_or_die(path, **more):
    global left
    if more.get("dir_fd") is not None:  # only rmtree gives one
        left -= 1
        if left < 0 and not folder.exists():
            die()
    unlink(path, **more)

if left < 0:
    work.remove = die
os.unlink = unlink_or_die
work.publish_work(Settings(home=home), folder, "v1")
"""
"""Dies after publishing: before it removes the folder, or when it has removed some files."""


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def made(settings: Settings, name: str = "v1") -> Path:
    folder = settings.work / name / "dataset"
    (folder / "features").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    for number in range(3):
        (folder / "features" / f"part-{number}.parquet").write_bytes(os.urandom(50))
    return folder


def left(settings: Settings) -> list[Path]:
    return [path for path in settings.work.rglob("*") if path.is_file()]


def test_nothing_of_a_published_dataset_stays_in_work(home: Settings) -> None:
    folder = made(home)
    content = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    first = work.publish_work(home, folder, "v1")
    assert left(home) == []
    assert work.publish_work(home, folder, "v1") == first
    opened = versions.open_dataset(home, "v1").folder
    assert {p.name: p.read_bytes() for p in opened.rglob("*") if p.is_file()} == content


def test_nothing_of_a_published_day_stays_in_work(home: Settings) -> None:
    folder = made(home, "plant-day-20260301")
    first = history.publish_day(home, folder, DAY, 1.0, "a day")
    assert left(home) == []
    assert history.publish_day(home, folder, DAY, 1.0, "a day") == first
    assert first.tag == "plant-day-20260301-1"


def test_what_was_never_made_is_refused(home: Settings) -> None:
    with pytest.raises(UsageError, match="no dataset to publish"):
        work.publish_work(home, home.work / "v1" / "dataset", "v1")
    with pytest.raises(UsageError, match="no partition of a day"):
        history.publish_day(home, home.work / "d" / "dataset", DAY, 1.0, "a day")


def test_a_tag_with_other_content_leaves_the_new_data_in_work(home: Settings) -> None:
    work.publish_work(home, made(home), "v1")
    shutil.rmtree(home.work / "v1")
    folder = made(home)
    with pytest.raises(UsageError, match="never moves"):
        work.publish_work(home, folder, "v1")
    assert (folder / "manifest.json").is_file()


@pytest.mark.parametrize("files", [-1, 0, 1, 3])
def test_a_killed_attempt_is_completed_by_the_next(home: Settings, files: int) -> None:
    """Killed after publishing, before or while it removes the files."""
    folder = made(home)
    command = [sys.executable, "-c", KILLED, str(home.home), str(folder), str(files)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert left(home) != []
    assert versions.tag_exists(home, "v1")
    assert work.publish_work(home, folder, "v1").tag == "v1"
    assert left(home) == []
    assert versions.open_dataset(home, "v1").manifest["rows"] == 7
