"""The files of old versions go, those of needed ones and all tags stay, wherever it is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.datasets import dvc_objects, thinning, versions

LATER = datetime.now(UTC) + timedelta(days=1)
"""All that is published in a test is older."""


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def folder_of(settings: Settings, tag: str, **files: str) -> Path:
    folder = settings.root / "made" / tag
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"rows": 1}))
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def publish(settings: Settings, tag: str, **files: str) -> versions.DatasetVersion:
    return versions.publish(settings, folder_of(settings, tag, **files), tag)


def publish_newest(settings: Settings) -> versions.DatasetVersion:
    """A version of a later second than all before it: git knows only seconds."""
    time.sleep(1.01)
    return publish(settings, "newest", last="of newest")


def objects(store: Path) -> set[str]:
    return {path.parent.name + path.name for path in store.glob("files/md5/??/*")}


def forget_use(settings: Settings) -> None:
    """As if nobody had opened a version for days."""
    for path in (settings.root / "datasets").iterdir():
        os.utime(path, (1, 1))


def test_unneeded_files_go_from_the_remote_the_cache_and_this_machine(home):
    old = publish(home, "old", shared="the same", own="of old")
    needed = publish(home, "needed", shared="the same", other="of needed")
    publish_newest(home)
    remote = Path(home.remote_address)
    before = objects(remote)
    assert [v.tag for v in thinning.thin(home, {"needed"}, LATER, dry_run=True)] == ["old"]
    assert objects(remote) == before
    forget_use(home)
    gone = thinning.thin(home, {"needed"}, LATER, dry_run=False)
    assert [(v.tag, v.hash) for v in gone] == [("old", old.hash)]
    assert gone[0].bytes == len(json.dumps({"rows": 1})) + len("the same") + len("of old")
    only_old = {old.hash, dvc_objects.file_hash(home.root / "made" / "old" / "own")}
    assert before - objects(remote) == only_old
    assert objects(home.dvc_cache) == objects(remote)
    assert not (home.root / "datasets" / old.hash.removesuffix(".dir")).exists()
    assert thinning.thin(home, {"needed"}, LATER, dry_run=False) == []
    assert versions.open_dataset(home, "needed").hash == needed.hash
    assert versions.find_version(home, "old").manifest == {"rows": 1}
    with pytest.raises(DataError, match="Publish the same data again"):
        versions.open_dataset(home, "old")


def test_the_same_data_bring_the_files_back_under_their_tag(home):
    old = publish(home, "old", own="of old")
    publish_newest(home)
    forget_use(home)
    thinning.thin(home, set(), LATER, dry_run=False)
    again = versions.publish(home, home.root / "made" / "old", "old")
    assert again == old
    assert (versions.open_dataset(home, "old").folder / "own").read_text() == "of old"


def test_what_was_opened_of_late_stays_on_this_machine(home):
    old = publish(home, "old", own="of old")
    publish_newest(home)
    forget_use(home)
    opened = versions.open_dataset(home, "old")
    thinning.thin(home, set(), LATER, dry_run=False)
    assert (opened.folder / "own").read_text() == "of old"
    forget_use(home)
    thinning.thin(home, set(), LATER, dry_run=False)
    assert not opened.folder.exists(), old.hash


def test_nothing_goes_while_it_is_unknown_what_a_needed_version_needs(home):
    publish(home, "old", own="of old")
    needed = publish(home, "needed", other="of needed")
    publish_newest(home)
    for store in (home.dvc_cache, Path(home.remote_address)):
        dvc_objects.object_path(store, needed.hash).unlink()
    left = objects(Path(home.remote_address))
    with pytest.raises(DataError, match="'needed' is damaged or missing"):
        thinning.thin(home, {"needed"}, LATER, dry_run=False)
    assert objects(Path(home.remote_address)) == left
    versions.publish(home, home.root / "made" / "needed", "needed")
    assert [v.tag for v in thinning.thin(home, {"needed"}, LATER, dry_run=False)] == ["old"]


KILLED = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from breezeway.core.settings import Settings
from breezeway.datasets import thinning

thinning.thin(
    Settings(home=Path(sys.argv[1])), {"needed"}, datetime.now(UTC) + timedelta(1), dry_run=False
)
"""


@pytest.mark.parametrize("part", range(1, 6))
def test_killed_at_any_point_it_harms_no_needed_version(home, part):
    for number in range(5):
        publish(home, f"old-{number}", own=f"{number}")
    publish(home, "needed", other="of needed")
    publish_newest(home)
    forget_use(home)
    whole = subprocess.Popen([sys.executable, "-c", KILLED, str(home.root)], start_new_session=True)
    time.sleep(part * 0.7)
    os.killpg(whole.pid, signal.SIGKILL)
    whole.wait(60)
    for tag in ("needed", "newest"):
        assert versions.open_dataset(home, tag).tag == tag
    thinning.thin(home, {"needed"}, LATER, dry_run=False)
    forget_use(home)
    thinning.thin(home, {"needed"}, LATER, dry_run=False)
    kept = {versions.find_version(home, tag).hash for tag in ("needed", "newest")}
    listings = {name for name in objects(Path(home.remote_address)) if name.endswith(".dir")}
    assert listings == kept
    homes = {f"{path.name}.dir" for path in (home.root / "datasets").iterdir()}
    assert homes == kept
