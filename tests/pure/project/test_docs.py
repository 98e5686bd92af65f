"""What a document names is there: files, commands, steps, targets of make."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from breezeway.cli import COMMANDS
from tests.fixtures import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
PATH = re.compile(r"`((?:bench|dags|docker|docs|helm|include|monitoring|plugins|tests)/[\w./-]+)`")
COMMAND = re.compile(r"(?:^|[\s`/])breezeway ([a-z][a-z-]+)(?=[\s`])", re.MULTILINE)
STEP = re.compile(r"breezeway\.steps\.(\w+)")
TARGET = re.compile(r"(?:^ {4}|`)make ([a-z-]+)", re.MULTILINE)

MADE = ("bench/runs", "docker/.env", "helm/breezeway/charts")
"""What a command or its reader makes."""

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def missing_files(document: Path) -> Iterator[str]:
    text = document.read_text("utf-8")
    for address in LINK.findall(text):
        if "://" not in address and not (document.parent / address).exists():
            yield address
    for path in PATH.findall(text):
        if not (ROOT / path).exists() and not path.startswith(MADE):
            yield path


@each_document
def test_each_file_that_is_named_is_there(document: Path) -> None:
    assert list(missing_files(document)) == []


@each_document
def test_each_command_that_is_named_is_there(document: Path) -> None:
    text = code_of(document.read_text("utf-8"))
    steps = {path.stem for path in (ROOT / "include/breezeway/steps").glob("*.py")}
    assert set(COMMAND.findall(text)) <= COMMANDS.keys()
    assert set(STEP.findall(text)) <= steps


@each_document
def test_each_target_of_make_that_is_named_is_there(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(TARGET.findall(document.read_text("utf-8"))) <= targets


def code_of(text: str) -> str:
    """The lines and words of a document that are code; prose may follow the name by any word."""
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    return "\n".join([*lines, *re.findall(r"`[^`\n]+`", text)])
