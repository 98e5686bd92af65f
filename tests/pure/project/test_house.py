"""The shape of the code: its packages, and how long a module or a function may get."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures import ROOT

PACKAGE = ROOT / "include" / "breezeway"
PACKAGES = {
    "commands",
    "contract",
    "core",
    "datasets",
    "deployment",
    "detector",
    "drift",
    "laptop",
    "pipeline",
    "preprocessing",
    "readings",
    "serving",
    "steps",
    "tracking",
}
MODULES = {"__init__.py", "__main__.py", "cli.py"}
DATA = {"sensors"}

MODULE_LINES = 500
FUNCTION_LINES = 60
STEP_LINES = 150


def sources() -> Iterator[Path]:
    for folder in (PACKAGE, ROOT / "plugins", ROOT / "dags"):
        yield from sorted(folder.rglob("*.py"))


def test_the_package_holds_what_the_architecture_names() -> None:
    there = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert there == PACKAGES | MODULES | DATA


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_says_its_reason_and_nothing_else(package: str) -> None:
    module = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    assert len(module.body) == 1
    assert len(ast.get_docstring(module) or "") > 10


def test_every_module_begins_with_its_reason() -> None:
    without = [
        str(path.relative_to(ROOT))
        for path in sources()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert without == []


def test_no_module_and_no_function_is_too_long() -> None:
    long = []
    for path in sources():
        text = path.read_text(encoding="utf-8")
        allowed = STEP_LINES if path.parent.name in ("commands", "steps") else MODULE_LINES
        if text.count("\n") > allowed:
            long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}: {node.name}: {lines} lines")
    assert long == []
