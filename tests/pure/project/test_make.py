"""The Makefile: which interpreter it takes, and that its words survive spaces."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(clone: Path, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words],
        cwd=clone,
        env={"PATH": f"{path}{os.pathsep}/usr/bin:/bin", "HOME": str(clone)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_no_interpreter_that_fits_is_said(clone: Path) -> None:
    named = make(clone, "demo", "PYTHON=/bin/false")
    assert named.returncode != 0
    assert "needs Python 3.12 or 3.13" in named.stderr
    assert "/bin/false" in named.stderr
    assert "make demo PYTHON=" in named.stderr
    assert not (clone / ".venv").exists()


def test_each_candidate_is_really_run(clone: Path) -> None:
    # As pyenv's: in PATH, and of no use.
    script(clone / "shims" / "python3.12", "exit 127")
    fits = f'PYTHONHOME= exec "{sys.executable}" "$@"'
    script(
        clone / "shims" / "python3.13", f'case $1 in -c) {fits};; *) echo "$@" >&2; exit 9; esac'
    )
    made = make(clone, ".venv/ready", path=str(clone / "shims"))
    assert "Making .venv with python3.13." in made.stdout
    assert "-m venv --clear .venv" in made.stderr
    assert not (clone / ".venv" / "ready").exists()  # what fails leaves no stamp


def test_choices_reach_the_command_word_by_word(clone: Path) -> None:
    script(clone / ".venv" / "bin" / "breezeway", 'printf "%s|" "$@"')
    (clone / ".venv" / "ready").touch()
    (clone / ".venv" / "installed").write_text(f"{clone}\n")
    demo = make(clone, "demo", "SENSORS=skab", "DATA=my data", "OPTIONS=--count 3")
    assert demo.stdout == "demo|--sensors|skab|--data|my data|--count|3|"
    assert make(clone, "up").stdout == "up|"
    assert make(clone, "up", "RUN=0", "OPTIONS=--json").stdout == "up|--no-run|--json|"
