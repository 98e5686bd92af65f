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


THREADS = ("OMP_NUM_THREADS", "NUMEXPR_MAX_THREADS", "NUMEXPR_NUM_THREADS")

BASH = """
source "$1/script"; COMP_WORDS=($2); [[ $2 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_breezeway
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = "source $argv[1]/script; complete --do-complete $argv[2]"
# zsh completes only at a terminal, so it gets one, and notes there what is offered.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "source $1/setup ${(q)1}"
zpty -n -w shell "$2"$'\t'
for wait in {1..600}; do [[ -e $1/ended ]] && break; sleep 0.1; done
zpty -d shell
cat $1/offered
"""
ZSH_SETUP = r"""
folder=$1; fpath=($folder $fpath)
cp $folder/script $folder/_breezeway
autoload -Uz compinit; compinit -u -D
bindkey '^I' complete-word
compadd() {
  builtin compadd "$@"
  local code=$?
  # What only fills an array is no offer.
  [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]] && return $code
  local -a offered
  builtin compadd -A offered "$@"
  print -l -- $offered >> $folder/offered
  return $code
}
ended() { touch $folder/ended }
comppostfuncs=(ended)
"""
CALLS = {"bash": ["-c", BASH, "bash"], "fish": ["-c", FISH], "zsh": ["-f", "-c", ZSH, "zsh"]}


@pytest.fixture(scope="module", params=CALLS)
def shell(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A shell, and its script of completion."""
    if not shutil.which(request.param):
        pytest.skip(f"there is no {request.param} here")
    command = [sys.executable, "-m", "breezeway", "--print-completion", request.param]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return request.param, done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("back", {"backtest", "backup"}),
        ("simulate --drift", {"--drift", "--drift-from"}),
        ("score --table ", {"yes", "no"}),
        ("backup ./a-", {"a-backup.tar.gz"}),
    ],
)
def test_a_shell_completes_commands_options_choices_and_files(
    shell: tuple[str, str], tmp_path: Path, line: str, offered: set[str]
) -> None:
    name, script = shell
    (tmp_path / "script").write_text(script)
    (tmp_path / "setup").write_text(ZSH_SETUP)
    (tmp_path / "a-backup.tar.gz").touch()
    done = subprocess.run(
        [name, *CALLS[name], tmp_path, f"breezeway {line}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    # fish tells behind a tab what each is for.
    words = [line.partition("\t")[0].strip() for line in done.stdout.splitlines()]
    assert {word.removeprefix("./") for word in words} == offered


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
