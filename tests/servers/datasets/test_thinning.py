"""The files of old versions go, those of needed ones and all tags stay, wherever it is killed."""

import json
import os
import shutil
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
from tests.fixtures.s3 import s3_server

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


def git(settings: Settings, *arguments: str, text: str = "") -> str:
    command = ["git", "--git-dir", settings.repository_address, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def tag_tree(settings: Settings, tag: str, **files: str) -> None:
    """Give a tag to a commit of our own making."""
    blobs = {
        name: git(settings, "hash-object", "-w", "--stdin", text=t) for name, t in files.items()
    }
    lines = "".join(f"100644 blob {hash}\t{name}\n" for name, hash in blobs.items())
    tree = git(settings, "mktree", text=lines)
    who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    commit = git(settings, *who, "commit-tree", tree, text="x")
    git(settings, "tag", tag, commit)


def test_tags_of_other_things_are_let_be(home):
    publish(home, "old", own="of old")
    publish_newest(home)
    tag_tree(home, "release-7", README="a program")
    git(home, "tag", "blob", git(home, "hash-object", "-w", "--stdin", text="no commit"))
    assert [v.tag for v in thinning.thin(home, set(), LATER, dry_run=False)] == ["old"]


def test_nothing_goes_while_a_tag_does_not_say_what_it_needs(home):
    publish(home, "old", own="of old")
    publish_newest(home)
    tag_tree(home, "damaged", **{"data.dvc": "outs: [{path: data}]"})
    left = objects(Path(home.remote_address))
    with pytest.raises(DataError, match=r"'damaged' has no hash in its data\.dvc"):
        thinning.thin(home, set(), LATER, dry_run=False)
    assert objects(Path(home.remote_address)) == left


def test_an_s3_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bucket = tmp_path / "s3" / "datasets"
    bucket.mkdir(parents=True)
    with s3_server(tmp_path / "s3", "key", "secret") as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }.items():
            monkeypatch.setenv(name, value)
        settings = Settings(home=tmp_path / "home", dataset_remote="s3://datasets/dvc")
        publish(settings, "old", own="of old")
        needed = publish(settings, "needed", other="of needed")
        publish_newest(settings)
        before = objects(bucket / "dvc")
        shutil.rmtree(settings.dvc_cache)  # as on another machine
        gone = thinning.thin(settings, {"needed"}, LATER, dry_run=False)
        assert [version.tag for version in gone] == ["old"]
        assert len(before - objects(bucket / "dvc")) == 2
        shutil.rmtree(settings.root / "datasets")
        assert versions.open_dataset(settings, "needed").hash == needed.hash


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
