"""What a document names exists: files, commands, options, modules, variables, targets of make."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from breezeway.cli import COMMANDS
from breezeway.core.settings import Settings
from tests.fixtures import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
PATH = re.compile(r"`((?:bench|dags|docker|docs|helm|include|monitoring|plugins|tests)/[\w./-]+)`")
COMMAND = re.compile(r"(?:^|[\s`/])breezeway ([a-z][a-z-]+)(?=[\s`])", re.MULTILINE)
STEP = re.compile(r"breezeway\.steps\.(\w+)")
WITH_OPTIONS = re.compile(
    r"((?:^|[\s`/])breezeway |-m breezeway\.steps\.|`)([a-z][a-z-]*)( [^`\n]*--[^`\n]+)", re.M
)
OPTION = re.compile(r"(?<=\s)--[a-z-]+")
OPTION_OF_A_PARSER = re.compile(r'add_argument\(\s*f?"(--[^"]+)"')
MODULE = re.compile(r"`((?:breezeway|breezeway_airflow)(?:\.\w+)+)(?::\w+)?`")
VARIABLE = re.compile(r"\bBREEZEWAY_[A-Z_]*[A-Z]\b")
TARGET = re.compile(r"(?:^ {4}|`)make ([a-z-]+)", re.MULTILINE)

MADE = ("bench/runs", "docker/.env", "helm/breezeway/charts")
"""What a command or its reader makes."""
FOLDERS = {"breezeway": ROOT / "include", "breezeway_airflow": ROOT / "plugins"}

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


OTHERS = {"airflow", "mlflow"}
"""Commands that hand all words on; those of Airflow its own parser takes, in another test."""


@each_document
def test_each_option_that_is_named_with_its_command_is_there(document: Path) -> None:
    for prefix, name, words in WITH_OPTIONS.findall(code_of(document.read_text("utf-8"))):
        if name in OTHERS:
            continue
        if sources := sources_of(prefix, name):
            known = re.compile("|".join(["--help", *map(options, sources)]))
            assert [o for o in OPTION.findall(words) if not known.fullmatch(o)] == [], name


@each_document
def test_each_module_that_is_named_is_there(document: Path) -> None:
    assert [name for name in MODULE.findall(document.read_text("utf-8")) if not exists(name)] == []


@each_document
def test_each_variable_that_is_named_is_read(document: Path) -> None:
    settings = {f"BREEZEWAY_{field.upper()}" for field in Settings.model_fields}
    assert set(VARIABLE.findall(document.read_text("utf-8"))) <= settings | variables_of_tests()


@each_document
def test_each_target_of_make_that_is_named_is_there(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(TARGET.findall(document.read_text("utf-8"))) <= targets


MOST_WORDS_OF_THE_README = 700


def test_the_readme_is_one_screen_to_the_first_success_and_then_links() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= MOST_WORDS_OF_THE_README


def test_each_page_is_found_from_the_list_of_pages() -> None:
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text("utf-8")))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= listed


def code_of(text: str) -> str:
    """The lines and words of a document that are code; prose may follow the name by any word."""
    joined = re.sub(r"\\\n +", "", text)
    lines = [line for line in joined.splitlines() if line.startswith("    ")]
    return "\n".join([*lines, *re.findall(r"`[^`\n]+`", text)])


def sources_of(prefix: str, name: str) -> list[Path]:
    """The modules that define the options of `<prefix><name>`: of a command, a step, or either."""
    modules = []
    if "steps" not in prefix and name in COMMANDS:
        modules.append(COMMANDS[name][0].partition(":")[0])
    if "breezeway " not in prefix:
        modules.append(f"breezeway.steps.{name}")
    files = [FOLDERS["breezeway"].joinpath(*m.split(".")).with_suffix(".py") for m in modules]
    return [file for file in files if file.is_file()]


def options(source: Path) -> str:
    """A pattern of the options; in `--{part}-port` the part may be any word."""
    found = OPTION_OF_A_PARSER.findall(source.read_text("utf-8"))
    return "|".join(re.sub(r"\{\w+\}", "[a-z]+", option) for option in found)


def exists(name: str) -> bool:
    """Whether there is such a module, a name in one, or a tag or metric `breezeway.<name>`."""
    package, *names = name.split(".")
    path = FOLDERS[package].joinpath(package, *names)
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    if len(names) == 1:
        return names[0] in all_words()
    module = path.parent.with_suffix(".py")
    return module.is_file() and names[-1] in re.findall(r"\w+", module.read_text("utf-8"))


@cache
def all_words() -> frozenset[str]:
    """Of the code; tags and metrics have no module of their own."""
    files = [file for folder in FOLDERS.values() for file in folder.rglob("*.py")]
    return frozenset(word for file in files for word in re.findall(r"\w+", file.read_text("utf-8")))


@cache
def variables_of_tests() -> frozenset[str]:
    files = [file for file in (ROOT / "tests").rglob("*.py") if file != Path(__file__)]
    return frozenset(name for file in files for name in VARIABLE.findall(file.read_text("utf-8")))
