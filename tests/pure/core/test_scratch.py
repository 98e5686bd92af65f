"""A temporary folder goes, also when its process was killed."""

import subprocess
import sys

from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings

KILLED = """
import os, signal, sys
from pathlib import Path
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings

with scratch(Settings(home=Path(sys.argv[1])), "drift") as folder:
    (folder / "features").write_text("many")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def left(settings: Settings) -> list[str]:
    return [file.name for file in settings.work.rglob("features")]


def test_a_folder_is_gone_afterwards(settings: Settings) -> None:
    with scratch(settings, "drift") as folder:
        (folder / "features").write_text("many")
    assert list(settings.work.iterdir()) == []


def test_that_of_a_killed_process_goes_with_the_next_of_its_name(settings: Settings) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(settings.root)], check=False)
    assert left(settings) == ["features"]
    with scratch(settings, "test"):
        assert left(settings) == ["features"], "of another name"
    with scratch(settings, "drift"):
        assert left(settings) == []


def test_that_of_a_living_process_stays(settings: Settings) -> None:
    with scratch(settings, "drift") as one, scratch(settings, "drift") as other:
        assert one.is_dir()
        assert other.is_dir()
