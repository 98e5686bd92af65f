"""Each bench of the page can be run."""

import ast
import importlib
import inspect
import re
import subprocess

import pytest

from bench.page import BENCHES
from tests.fixtures import ROOT


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_measures_into_the_folder_of_a_run(name):
    assert list(inspect.signature(importlib.import_module(f"bench.{name}").run).parameters) == [
        "folder"
    ]


@pytest.mark.parametrize("file", sorted((ROOT / "bench").rglob("*.py")), ids=lambda path: path.name)
def test_what_a_bench_imports_while_it_runs_is_there(file):
    """Most imports stand in functions: what is measured imports what it needs itself."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "breezeway":
            module = importlib.import_module(node.module)
            for name in node.names:
                there = hasattr(module, name.name)
                assert there or importlib.import_module(f"{node.module}.{name.name}")


def test_the_script_beside_the_training_dag_imports_what_there_is():
    script = (ROOT / "bench" / "training.sh").read_text(encoding="utf-8")
    imports = re.findall(r"^from breezeway.*", script, re.MULTILINE)
    assert len(imports) == 5
    for line in imports:
        exec(line)


def test_the_published_results_are_of_benches_that_there_are():
    files = {path.stem for path in (ROOT / "bench" / "results").glob("*.json")}
    assert files
    assert files <= set(BENCHES)


def test_a_run_leaves_the_tree_clean():
    ignored = ["git", "check-ignore", "bench/runs/20261128T101500Z/serving.json"]
    assert subprocess.run(ignored, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
