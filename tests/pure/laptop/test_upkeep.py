"""When the laptop's databases are cleaned, and the logs that go."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from breezeway.core.settings import Settings
from breezeway.laptop import upkeep


def test_it_is_due_a_day_after_the_last_time_but_not_while_the_platform_starts(tmp_path: Path):
    cleaned = tmp_path / "airflow.cleaned"
    assert upkeep.seconds_until_due(cleaned) == upkeep.START_SECONDS
    cleaned.touch()
    assert upkeep.seconds_until_due(cleaned) > 86_000
    os.utime(cleaned, (0, time.time() - 2 * 86_400))
    assert upkeep.seconds_until_due(cleaned) == upkeep.START_SECONDS


def test_old_task_logs_go_with_their_empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    logs = tmp_path / "airflow" / "logs"
    old, young = logs / "dag_id=x" / "run_id=1" / "a.log", logs / "dag_id=x" / "run_id=2" / "a.log"
    for path in (old, young):
        path.parent.mkdir(parents=True)
        path.touch()
    long_ago = time.time() - 91 * 86_400
    os.utime(old, (long_ago, long_ago))
    (logs / "latest").symlink_to(young.parent)
    upkeep.clean_airflow(Settings(home=tmp_path))
    assert not old.parent.exists()
    assert young.exists()
    assert (logs / "latest").is_symlink()
    assert commands[0][1:5] == ["-m", "airflow", "db", "clean"]
