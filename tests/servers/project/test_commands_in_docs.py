"""What a document tells to type is taken: by the parsers of commands and steps, and by make."""

import re
import shlex
import subprocess
from datetime import date
from pathlib import Path

import pytest

from tests.fixtures import ROOT
from tests.fixtures.commands import DATE, calls, parse
from tests.fixtures.printed import commands

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHELL = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```", re.M | re.S)
FIXED_DAY = re.compile(r"\b20\d\d-\d\d-\d\d\b")
WITH_DAYS = re.compile(r"(?:breezeway|airflow backfill)\b")
MAKE = re.compile(r"^ +make ([^#\n]+)", re.M)
MOST_PAGES = 30
MODULE = re.compile(r"python -m ((?:breezeway|bench)[\w.]*)")


def code(document: Path) -> str:
    """The blocks of a document that may be for a shell, with one line for each command."""
    text = document.read_text("utf-8")
    indented = re.findall(r"^ {4,}.*$", text, re.M)
    joined = "\n".join([*indented, *SHELL.findall(text)])
    return re.sub(r"\\\n *", "", joined)


with_commands = pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if "breezeway" in code(path) or MAKE.search(code(path))],
    ids=lambda path: str(path.relative_to(ROOT)),
)


@with_commands
def test_the_parser_of_each_command_takes_its_words(document: Path) -> None:
    for words in calls(code(document)):
        parse(words)


def test_the_commands_of_the_documents_are_found() -> None:
    found = [words for document in DOCUMENTS for words in calls(code(document))]
    assert len(found) > MOST_PAGES
    assert {"score", "backup", "breezeway.steps.deploy"} <= {w for words in found for w in words}


@with_commands
def test_no_command_names_a_day_that_will_be_long_ago(document: Path) -> None:
    lines = [line for line in code(document).splitlines() if WITH_DAYS.search(line)]
    told = [
        line for line in lines if re.match(r" *(?:[\w./=-]+/)?(?:breezeway|python|airflow)", line)
    ]
    assert [line for line in told if FIXED_DAY.search(line)] == []


@with_commands
def test_a_module_that_is_run_is_there(document: Path) -> None:
    for name in MODULE.findall(code(document)):
        path = ROOT.joinpath("" if name.startswith("bench") else "include", *name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


@with_commands
def test_make_reads_each_variable_that_it_is_given(document: Path) -> None:
    # Those of `make images` reach its script through the environment.
    readers = [(ROOT / path).read_text("utf-8") for path in ("Makefile", "docker/build")]
    for words in MAKE.findall(code(document)):
        for name in re.findall(r"(?<!\S)(?!BREEZEWAY_)([A-Z_]+)=", words):
            assert any(re.search(rf"\$[({{]{name}\b", reader) for reader in readers), name


def test_airflow_takes_the_words_of_its_commands(airflow_database: None) -> None:
    from airflow.cli.cli_parser import get_parser

    begin = ".venv/bin/breezeway airflow "
    found = [each for each in commands() if each.text.startswith(f"{begin}backfill ")]
    assert len(found) > 1
    for document, text in found:
        words = DATE.sub(f"{date.today()}", text.removeprefix(begin).replace("\\\n", ""))
        taken = get_parser().parse_args(shlex.split(words))
        assert (ROOT / "dags" / f"{taken.dag_id}.py").is_file(), (document, text)


def test_each_day_is_one_that_the_shell_can_work_out() -> None:
    found = {each for document in DOCUMENTS for each in DATE.findall(code(document))}
    assert "$(date -d yesterday +%F)" in found
    for expression in found:
        done = subprocess.run(
            ["sh", "-c", f"printf %s {expression}"], capture_output=True, text=True, check=False
        )
        if "illegal option" in done.stderr or "usage" in done.stderr:
            pytest.skip("date is not GNU's")
        assert FIXED_DAY.fullmatch(done.stdout), (expression, done.stderr)


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("breezeway nights --fist 2026-01-01 --last 2026-01-02", "--first"),
        ("breezeway score --day $(date -d yesterday +%F) --every 2", "--every"),
        ("BREEZEWAY_THREADS=1 .venv/bin/breezeway simulate --days two | tail", "--days"),
        ("python -m breezeway.steps.train --tag v1", "--run-name"),
        ("docker compose exec scheduler breezeway histories", "histories"),
    ],
)
def test_a_command_that_is_no_more_is_found(line: str, mistake: str) -> None:
    (words,) = calls(f"    {line}\n")
    with pytest.raises(Exception, match=mistake):
        parse(words)
