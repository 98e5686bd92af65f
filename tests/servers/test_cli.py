"""The help of each command and step, and what a shell completes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from breezeway import cli
from tests.fixtures.commands import STEPS, calls, parse, parser_of

NAMES = [*cli.COMMANDS, *(f"breezeway.steps.{step}" for step in STEPS)]


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example_that_the_parser_takes(name: str) -> None:
    text = parser_of(name).format_help()
    assert re.search(r"^Examples?:$", text, re.M), "the docstring ends with examples"
    examples = list(calls(text.partition("Example")[2]))
    assert any(name in words[:2] for words in examples)
    for words in examples:
        parse(words)


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_each_option_is_by_default(name: str) -> None:
    parser = parser_of(name)
    for action in parser._actions:
        assert action.help, action.option_strings
        default = action.default
        if default in (None, False, "", {}) or action.dest == "help":
            continue
        assert f"({default}" in action.help % vars(action), action.option_strings


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "breezeway"
    command = [sys.executable, "-m", "breezeway", "--print-completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    path.write_text(done.stdout)
    return path


THREADS = ("OMP_NUM_THREADS", "NUMEXPR_MAX_THREADS", "NUMEXPR_NUM_THREADS")

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_breezeway
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["back"], {"backtest", "backup"}),
        (["simulate", "--drift"], {"--drift", "--drift-from"}),
        (["score", "--table", ""], {"yes", "no"}),
        (["backup", "./a-"], {"./a-backup.tar.gz"}),
    ],
)
def test_a_shell_completes_commands_options_choices_and_files(
    script: Path, tmp_path: Path, words: list[str], offered: set[str]
) -> None:
    (tmp_path / "a-backup.tar.gz").touch()
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", script, "breezeway", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(done.stdout.split()) == offered


def test_libraries_say_nothing_of_themselves(tmp_path: Path) -> None:
    (tmp_path / "pump.csv").write_text(
        "device,time,temperature,fault\n"
        + "".join(f"p1,2026-01-01T00:{i:02}:00Z,{20 + i * 7 % 11},{i % 2}\n" for i in range(60))
    )
    done = subprocess.run(
        [sys.executable, "-m", "breezeway", "new-sensor", "pump.csv"],
        cwd=tmp_path,
        # NumExpr tells its threads, unless one of these does.
        env={k: v for k, v in os.environ.items() if k not in THREADS},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    assert (tmp_path / "pump.toml").is_file()
