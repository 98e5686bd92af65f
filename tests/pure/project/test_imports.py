"""Imports go one way between packages, and to the module that defines a name."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.fixtures import ROOT

MODULES = {
    ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in (ROOT / "include", ROOT / "plugins")
    for path in folder.rglob("*.py")
}
"""Our modules: name → file."""

GIVEN = {
    "breezeway_airflow.step.Step",  # which of two is chosen there
    "breezeway.core.ray_session.ray",  # Ray reads when it is imported what is set there
}
"""Names that a module gives although another defines them."""


@cache
def defined(module: str) -> set[str]:
    """What a module defines at its top, under an `if` or a `try` as well."""
    names: set[str] = set()
    blocks = [ast.parse(MODULES[module].read_text("utf-8")).body]
    while blocks:
        for node in blocks.pop():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.If | ast.Try | ast.With):
                blocks += [node.body, getattr(node, "orelse", [])]
            else:
                names |= {
                    name.id
                    for name in ast.walk(node)
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
                }
    return names


def taken(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, module of ours, and name, for each name that a file takes from one."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    known: dict[str, str] = {}
    for node in nodes:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if (module := f"{node.module}.{alias.name}") in MODULES:
                known[alias.asname or alias.name] = module
            elif node.module in MODULES:
                yield node.lineno, node.module, alias.name
    # What a test patches in a module is not always its own.
    for node in nodes if not path.is_relative_to(ROOT / "tests") else ():
        match node:
            case ast.Attribute(ast.Name(name), attribute) if name in known:
                yield node.lineno, known[name], attribute


def test_packages_import_only_those_below_them() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


def test_what_airflow_reads_imports_no_ml_library_at_its_top() -> None:
    check = [sys.executable, "-m", "ruff", "check", "--select", "TID", "dags", "plugins"]
    found = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_what_the_linter_keeps_from_the_top_is_there() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    banned = rules["flake8-tidy-imports"]["banned-module-level-imports"]
    assert {name for name in banned if name.startswith("breezeway")} <= MODULES.keys()


def test_a_name_is_taken_from_where_it_is_defined() -> None:
    borrowed = [
        f"{path.relative_to(ROOT)}:{line}: {module} does not define {name}"
        for folder in ("include", "plugins", "dags", "bench", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, module, name in taken(path)
        if name not in defined(module) and f"{module}.{name}" not in GIVEN
    ]
    assert borrowed == []
