"""Git and DVC in a folder aside: by no one's settings but ours, bounded, and gone afterwards."""

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from breezeway.core.errors import InternalError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import workspace
from breezeway.datasets.workspace import Workspace, local_path, open_workspace


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "a home")


def commit_all(space: Workspace, *names: str, text: str = "x") -> bool:
    space.check_out_branch()
    (space.tree / "file").write_text(text)
    space.commit(text)
    return space.push(*names)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("/srv/data sets.git", True),
        ("relative/data.git", True),
        ("ssh://git@example/data.git", False),
        ("git@example:data.git", False),
        ("s3://bucket/remote", False),
    ],
)
def test_an_address_is_a_folder_or_not(address: str, local: bool) -> None:
    assert (local_path(address) is not None) == local


def test_a_workspace_is_gone_afterwards_with_its_lock(settings: Settings) -> None:
    with open_workspace(settings) as space:
        assert space.tree.is_dir()
    assert list(settings.work.iterdir()) == []


def test_the_workspace_of_a_killed_process_goes_and_one_in_use_stays(settings: Settings) -> None:
    settings.work.mkdir(parents=True)
    dead, alive = settings.work / ".workspace-dead", settings.work / ".workspace-alive"
    for folder in (dead, alive):
        folder.mkdir()
    tag = settings.work / "v1"
    tag.mkdir()
    with FileLock(alive / "owner.lock"), open_workspace(settings):
        assert not dead.exists()
        assert alive.is_dir()
        assert tag.is_dir()


def test_what_is_pushed_is_found_by_its_tag(settings: Settings) -> None:
    with open_workspace(settings) as space:
        assert space.tags() == {}, "before the first publisher there is no repository"
        space.create_repository()
        assert commit_all(space, "refs/heads/main", "refs/tags/v1", text="one")
        assert commit_all(space, "refs/heads/main", "refs/tags/v2", text="two")
    with open_workspace(settings) as space:
        assert sorted(space.tags()) == ["v1", "v2"]


def test_of_two_that_push_the_slower_one_is_told(settings: Settings) -> None:
    with open_workspace(settings) as slow, open_workspace(settings) as fast:
        slow.create_repository()
        assert commit_all(slow, "refs/heads/main", text="first")
        slow.check_out_branch()
        assert commit_all(fast, "refs/heads/main", "refs/tags/v2", text="fast")
        (slow.tree / "file").write_text("slow")
        slow.commit("slow")
        assert not slow.push("refs/heads/main", "refs/tags/v3")
        assert sorted(slow.tags()) == ["v2"], "of a push that is refused no part is there"


def test_a_tag_that_is_there_cannot_be_pushed_again(settings: Settings) -> None:
    with open_workspace(settings) as space:
        space.create_repository()
        assert commit_all(space, "refs/heads/main", "refs/tags/v1", text="one")
        before = space.tags()
        assert not commit_all(space, "refs/tags/v1", text="two")
        assert space.tags() == before


def test_git_that_fails_is_a_defect_with_its_own_words(settings: Settings) -> None:
    with (
        open_workspace(settings) as space,
        pytest.raises(InternalError, match=r"git checkout failed with \d+: (fatal|error): "),
    ):
        space.git("checkout", "nowhere")


def test_a_repository_that_does_not_answer_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(silent))
    monkeypatch.setattr(workspace, "LOOK_SECONDS", 0.3)
    away = settings.model_copy(update={"dataset_repository": "ssh://me:s3cret@host/data.git"})
    with open_workspace(away) as space, pytest.raises(ServiceUnavailable) as raised:
        space.tags()
    assert "gave no answer in 0.3 s" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_without_git_it_is_said_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with (
        open_workspace(settings) as space,
        pytest.raises(UsageError, match="'git' is not installed"),
    ):
        space.git("status")


def test_a_missing_mount_is_not_taken_for_a_first_time(settings: Settings, tmp_path: Path) -> None:
    unmounted = settings.model_copy(
        update={"dataset_repository": str(tmp_path / "mount" / "datasets.git")}
    )
    with open_workspace(unmounted) as space:
        with pytest.raises(ServiceUnavailable, match="is not there"):
            space.create_repository()
        with pytest.raises(ServiceUnavailable, match="is not there"):
            space.tags()
    assert not (tmp_path / "mount").exists()


def test_a_repository_is_made_once_and_never_half(settings: Settings) -> None:
    with open_workspace(settings) as space:
        aside = space.repository.with_name(f".{space.repository.name}.new")
        aside.mkdir(parents=True)  # of a process that was killed
        (aside / "half").touch()
        space.create_repository()
        made = sorted(space.repository.iterdir())
        space.create_repository()
        assert sorted(space.repository.iterdir()) == made
        assert not aside.exists()
        assert "half" not in {path.name for path in made}


@pytest.mark.parametrize(("age", "stays"), [(0, True), (3600, False)])
def test_a_lock_in_the_repository_goes_when_it_is_old(
    settings: Settings, age: int, stays: bool
) -> None:
    with open_workspace(settings) as space:
        space.create_repository()
        lock = space.repository / "refs" / "heads" / "other.lock"
        lock.touch()
        os.utime(lock, (time.time() - age,) * 2)
        commit_all(space, "refs/heads/main")
        assert lock.exists() == stays


def test_nobody_elses_configuration_has_a_say(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\nname = Someone\n[commit]\ngpgSign = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Someone")
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    with open_workspace(settings) as space:
        space.create_repository()
        commit_all(space, "refs/heads/main")
        assert space.git("log", "--format=%an %cn").split() == ["Breezeway", "Breezeway"]
    assert not (tmp_path / "index").exists()
