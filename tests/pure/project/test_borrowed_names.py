"""A name is imported from the module that defines it."""

import ast
from collections.abc import Iterator
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


def defined(module: ast.Module) -> set[str]:
    """What a module defines at its top, under an `if` or a `try` as well."""
    names: set[str] = set()
    blocks = [module.body]
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


def statements(module: ast.Module) -> Iterator[ast.AST]:
    """All statements; expressions, which are most of a tree, are left out."""
    todo: list[ast.AST] = [module]
    for node in todo:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            below = getattr(node, part, [])
            todo += below if isinstance(below, list) else []


def taken(module: ast.Module, with_attributes: bool) -> Iterator[tuple[int, str, str]]:
    """Line, module of ours, and name, for each name that a file takes from one."""
    known: dict[str, str] = {}
    for node in statements(module):
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if (ours := f"{node.module}.{alias.name}") in MODULES:
                known[alias.asname or alias.name] = ours
            elif node.module in MODULES:
                yield node.lineno, node.module, alias.name
    for node in ast.walk(module) if known and with_attributes else ():
        match node:
            case ast.Attribute(ast.Name(name), attribute) if name in known:
                yield node.lineno, known[name], attribute


def test_a_name_is_taken_from_where_it_is_defined() -> None:
    names: dict[Path, set[str]] = {}
    found: list[tuple[Path, int, str, str]] = []
    for folder in ("include", "plugins", "dags", "bench", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            # Each file is parsed once, and no tree is kept: the collector would look at all of it.
            module = ast.parse(path.read_text("utf-8"))
            if folder in ("include", "plugins"):
                names[path] = defined(module)
            # What a test patches in a module is not always its own.
            found += [(path, *each) for each in taken(module, with_attributes=folder != "tests")]
    borrowed = [
        f"{path.relative_to(ROOT)}:{line}: {module} does not define {name}"
        for path, line, module, name in found
        if name not in names[MODULES[module]] and f"{module}.{name}" not in GIVEN
    ]
    assert borrowed == []
