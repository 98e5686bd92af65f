import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from breezeway.core.errors import TryAgain
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.datasets import work

NOW = datetime(2026, 11, 1, tzinfo=UTC)
LONG_AGO = (NOW - timedelta(days=100)).timestamp()
SINCE = NOW - timedelta(days=90)


def leave(settings: Settings, name: str, last_change: float = LONG_AGO) -> Path:
    """What a run left: two files, the deeper of which changed at this time, the rest long ago."""
    folder = settings.work / name
    deeper = folder / "dataset" / "features"
    deeper.mkdir(parents=True)
    for file in (folder / "profile.html", deeper / "part-0.arrow"):
        file.write_text("x")
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (LONG_AGO, LONG_AGO))
    os.utime(deeper / "part-0.arrow", (last_change, last_change))
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", lock_wait_seconds=0.1)


def names(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.work.iterdir())


def test_what_nobody_has_changed_for_long_goes_and_the_rest_stays(settings: Settings) -> None:
    leave(settings, "failed")
    leave(settings, ".test-4711")
    leave(settings, "lately", SINCE.timestamp() + 1)
    assert work.thin(settings, SINCE, dry_run=True) == [".test-4711", "failed"]
    assert names(settings) == [".test-4711", "failed", "lately"]
    assert work.thin(settings, SINCE, dry_run=False) == [".test-4711", "failed"]
    assert names(settings) == ["lately"]
    assert work.thin(settings, SINCE, dry_run=False) == []


def test_of_what_was_half_removed_the_rest_goes(settings: Settings) -> None:
    leave(settings, ".removed-failed")
    assert work.thin(settings, SINCE, dry_run=False) == [".removed-failed"]
    assert names(settings) == []


def test_a_link_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    target = leave(Settings(home=tmp_path / "other"), "mine")
    settings.work.mkdir(parents=True)
    (settings.work / "link").symlink_to(target)
    assert work.thin(settings, SINCE, dry_run=False) == []
    assert (target / "profile.html").exists()


def test_without_a_work_folder_there_is_nothing_to_do(settings: Settings) -> None:
    assert work.thin(settings, SINCE, dry_run=False) == []


def test_a_step_that_holds_it_keeps_it(settings: Settings) -> None:
    leave(settings, "failed")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(settings, "preprocess-failed"):
            held.set()
            done.wait(30)

    step = threading.Thread(target=hold)
    step.start()
    held.wait(30)
    try:
        with pytest.raises(TryAgain):
            work.thin(settings, SINCE, dry_run=False)
    finally:
        done.set()
        step.join()
    assert names(settings) == ["failed"]


def test_what_a_step_has_changed_meanwhile_stays(settings: Settings, monkeypatch) -> None:
    folder = leave(settings, "failed")
    locked = work.exclusive

    def changed_before_the_lock(settings: Settings, name: str):
        (folder / "dataset" / "new").write_text("x")
        return locked(settings, name)

    monkeypatch.setattr(work, "exclusive", changed_before_the_lock)
    work.thin(settings, SINCE, dry_run=False)
    assert names(settings) == ["failed"]
