"""What is read from the commits of tags, whatever a repository holds."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.datasets import commits
from breezeway.datasets.commits import read_commits
from breezeway.datasets.workspace import Workspace, open_workspace

NAMES = ("data.dvc", "manifest.json")


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with fetched commits: `one` and `two`."""
    with open_workspace(Settings(home=tmp_path)) as space:
        space.create_repository()
        for tag, text in (("one", "plain"), ("two", "Prüfstand\n\n3 °C\n")):
            space.check_out_branch()
            (space.tree / "data.dvc").write_text(text, encoding="utf-8")
            space.commit(f"Dataset {tag}\n\nwith a line more")
            assert space.push("refs/heads/main", f"refs/tags/{tag}")
        space.fetch("*")
        yield space


def test_each_tag_has_its_commit_and_those_files_that_are_there(space: Workspace) -> None:
    one, two = read_commits(space, ["one", "two"], *NAMES)
    assert one is not None
    assert two is not None
    assert one.hash == space.tags()["one"]
    assert one.message.strip() == "Dataset one\n\nwith a line more"
    assert [one.text(name) for name in NAMES] == ["plain", None]
    assert two.text("data.dvc") == "Prüfstand\n\n3 °C\n"
    shown = space.git("show", "--no-patch", "--date=format-local:%FT%TZ", "--format=%cd", "two")
    assert two.committed_at == shown.strip()


def test_many_are_read_in_groups_and_in_order(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "MAX_TEXT_BYTES", 1000)
    tags = ["one", "two"] * 20
    found = [commit.tag for commit in read_commits(space, tags, *NAMES) if commit]
    assert found == tags


def test_a_tag_of_a_file_or_of_nothing_has_no_commit(space: Workspace) -> None:
    blob = space.git("rev-parse", "one:data.dvc").strip()
    space.git("tag", "blob", blob)
    space.git("tag", "tree", "one^{tree}")
    space.git("tag", "--annotate", "--message=a note", "annotated", "two")
    found = read_commits(space, ["blob", "tree", "annotated", "gone"], *NAMES)
    assert [commit and commit.tag for commit in found] == [None, None, "annotated", None]


def test_a_large_file_is_refused_by_its_size_and_not_read(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.check_out("refs/tags/one")
    (space.tree / "data.dvc").write_text("x" * 2000)
    space.commit("large")
    space.git("tag", "large")
    monkeypatch.setattr(commits, "MAX_TEXT_BYTES", 1000)
    one, large = read_commits(space, ["one", "large"], *NAMES)
    assert one is not None
    assert one.text("data.dvc") == "plain"
    assert large is not None
    with pytest.raises(DataError, match=r"'large': data\.dvc has 2000 bytes: expected up to 1000"):
        large.text("data.dvc")


def test_a_folder_in_place_of_a_file_is_no_file(space: Workspace) -> None:
    space.check_out("refs/tags/one")
    (space.tree / "manifest.json").mkdir()
    (space.tree / "manifest.json" / "file").write_text("x")
    space.commit("a folder")
    space.git("tag", "folder")
    (found,) = read_commits(space, ["folder"], *NAMES)
    assert found is not None
    assert found.text("manifest.json") is None


def test_a_commit_of_no_time_is_named(space: Workspace) -> None:
    tree = space.git("rev-parse", "one^{tree}").strip()
    text = f"tree {tree}\nauthor a <a> 1 +0000\ncommitter a <a> {10**17} +0000\n\nx\n"
    done = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"],
        cwd=space.tree,
        env=space.environment,
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    space.git("update-ref", "refs/tags/never", done.stdout.strip())
    with pytest.raises(DataError, match="'never': its commit has no time that can be"):
        list(read_commits(space, ["never"], *NAMES))
