"""What `breezeway uninstall` removes, what it leaves, and when it refuses."""

import io
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from breezeway import cli
from breezeway.core.errors import TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline import removal

FOLDERS = ("postgres", "logs", "locks", "work", "datasets", "run")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home in which a platform was started and readings were loaded."""
    monkeypatch.setattr(os, "environ", os.environ | {"BREEZEWAY_HOME": str(tmp_path / "home")})
    os.environ.pop("BREEZEWAY_RAW_URL", None)
    home = Settings.from_environment().root
    for folder in FOLDERS:
        (home / folder).mkdir(parents=True)
    (home / "run" / "keys.json").write_text("{}")
    (home / "locks" / "datasets.lock").touch()
    (home / "logs" / "mlflow.log").write_bytes(b"x" * 100_000)
    with sqlite3.connect(home / "raw-pump.db") as database:
        database.execute("CREATE TABLE readings (device)")
    return Settings.from_environment()


def uninstall(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["uninstall", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_all_that_breezeway_made_is_gone_with_the_home(settings, capsys) -> None:
    assert uninstall("--yes") == 0
    assert not settings.root.exists()
    said = capsys.readouterr().out
    assert all(name in said for name in (*FOLDERS, "raw-pump.db", "in all", "free again"))


def test_what_it_did_not_make_stays(settings, tmp_path, capsys) -> None:
    home, outside = settings.root, tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("mine")
    (home / "notes.txt").write_text("mine")
    (home / "raw.db").write_text("no database, and mine")
    (home / "deployments").symlink_to(outside)
    (home / "work" / "link").symlink_to(outside)
    assert uninstall("--yes") == 0
    assert {path.name for path in home.iterdir()} == {"notes.txt", "raw.db", "deployments"}
    assert (outside / "a").read_text() == "mine"
    assert f"did not make it: {home / 'notes.txt'}" in capsys.readouterr().out


def test_a_program_gets_what_was_removed_and_where_other_stores_are(settings, capsys) -> None:
    os.environ["BREEZEWAY_RAW_URL"] = "mysql+pymysql://me:secret@db/plant"
    assert uninstall("--yes", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["removed"]["logs"] >= 100_000 and "postgres" in told["removed"]
    assert told["bytes"] == sum(told["removed"].values())
    assert told["elsewhere"] == ["raw store: mysql+pymysql://db/plant"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stdin", "code"), [(Terminal("y\n"), 0), (Terminal("n\n"), 64), (Terminal(""), 64)]
)
def test_who_sits_there_is_asked(settings, monkeypatch, capsys, stdin: Any, code: int) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert uninstall() == code
    assert settings.root.exists() == (code != 0)
    assert "[y/N]" in capsys.readouterr().out


def test_where_nobody_sits_nothing_is_removed(settings, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert uninstall() == 64
    assert uninstall("--json") == 64
    assert (settings.root / "run" / "keys.json").exists()
    assert capsys.readouterr().err.count("--yes") == 2


def test_nothing_is_removed_while_a_platform_runs(settings) -> None:
    found = removal.look(settings)
    with FileLock(settings.root / "run" / "launcher.lock"):
        with pytest.raises(TryAgain, match="starting or stopping"):
            removal.remove(settings, found)
        (settings.root / "run" / "platform.json").write_text('{"process": 1}')
        with pytest.raises(UsageError, match="A platform runs in"):
            removal.remove(settings, found)
    assert {path.name for path in settings.root.iterdir()} == {*FOLDERS, "raw-pump.db"}


def test_nothing_is_removed_while_another_command_works_there(settings) -> None:
    with (
        FileLock(settings.root / "locks" / "datasets.lock"),
        pytest.raises(TryAgain, match=r"holds locks/datasets\.lock"),
    ):
        removal.remove(settings, removal.look(settings))
    assert {path.name for path in settings.root.iterdir()} == {*FOLDERS, "raw-pump.db"}
    removal.remove(settings, removal.look(settings))


@pytest.mark.parametrize("calls", [1, 4, 9, 14])
def test_killed_half_way_it_goes_on_when_it_is_run_again(settings, calls: int) -> None:
    found = removal.look(settings)
    if (child := os.fork()) == 0:
        sys.addaudithook(Killed(calls))
        removal.remove(settings, found)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert removal.look(settings).parts
    assert uninstall("--yes") == 0
    assert not settings.root.exists()


class Killed:
    """Ends the process at a rename or a removal."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, event: str, _: object) -> None:
        if event in ("os.rename", "os.rmdir", "os.remove", "shutil.rmtree"):
            self.calls -= 1
            if self.calls < 0:
                os._exit(9)


def test_a_home_without_a_platform_can_be_removed_too(settings) -> None:
    (settings.root / "run" / "keys.json").unlink()
    (settings.root / "run").rmdir()
    assert uninstall("--yes") == 0
    assert not settings.root.exists()


@pytest.mark.parametrize("there", [False, True])
def test_where_there_is_nothing_of_ours_nothing_is_touched(settings, tmp_path, there) -> None:
    other = Settings(home=tmp_path / "other")
    if there:
        (other.root / "photos").mkdir(parents=True)
    with pytest.raises(UsageError, match="nothing of Breezeway in"):
        removal.look(other)
    assert other.root.exists() == there


def test_a_folder_that_is_not_for_breezeway_alone_is_refused(settings, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("HOME", str(settings.root))
        with pytest.raises(UsageError, match="not a folder for Breezeway alone"):
            removal.look(settings)
    (settings.root / ".git").mkdir()
    with pytest.raises(UsageError, match="not a folder for Breezeway alone"):
        removal.look(settings)


def test_a_file_under_two_names_counts_once(settings) -> None:
    before = removal.look(settings)
    os.link(settings.root / "logs" / "mlflow.log", settings.root / "datasets" / "linked")
    assert sum(part.bytes for part in removal.look(settings).parts) == sum(
        part.bytes for part in before.parts
    )
