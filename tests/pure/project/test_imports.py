"""Imports go one way between packages."""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.fixtures import ROOT


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
    for name in banned:
        if name.startswith("breezeway"):
            path = ROOT.joinpath("include", *name.split("."))
            assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name
