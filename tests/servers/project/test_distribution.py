"""The wheel, installed where nothing else of Breezeway is: no checkout, no editable install."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import ROOT

UV = [sys.executable, "-m", "uv"]
pytestmark = pytest.mark.timeout(900)  # the packages may have to be fetched first


def run(*words: str | Path, **variables: str) -> str:
    """What a command prints. It is told of no other environment and no other code."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
    done = subprocess.run(
        words,
        cwd="/",
        env=kept | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the tree as it is, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(*UV, "build", "--wheel", "--no-build-isolation", "--out-dir", folder, ROOT)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Installs the wheel, with some extras, into a new environment; gives its folder of commands.

    Versions and hashes are those of the lock; uv links the files of its cache.
    """

    def installed(extras: str = "") -> Path:
        folder = tmp_path_factory.mktemp("an environment")
        run(*UV, "venv", "--quiet", "--python", sys.executable, folder)
        run(
            *(*UV, "pip", "install", "--system-certs", "--python", folder),
            *("--constraints", ROOT / "requirements.txt"),
            f"breezeway{extras} @ {wheel.as_uri()}",
        )
        return folder / "bin"

    return installed


@pytest.fixture(scope="module")
def commands(install: Callable[[str], Path]) -> Path:
    return install()


def test_the_wheel_holds_what_is_no_code_too(wheel: Path) -> None:
    wanted = {
        *((ROOT / "include").glob("breezeway/sensors/*.toml")),
        *((ROOT / "include").glob("breezeway/serving/*.js*")),
        *((ROOT / "include").glob("breezeway/commands/jupyter/**/*.*")),
        *((ROOT / "plugins").glob("breezeway_airflow/templates/*.html")),
    }
    names = {str(Path(*path.relative_to(ROOT).parts[1:])) for path in wanted}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert names <= held
    assert {name.partition("/")[0].partition("-")[0] for name in held} == {
        "breezeway",
        "breezeway_airflow",
    }


def test_the_command_knows_its_version(wheel: Path, commands: Path) -> None:
    version = wheel.name.split("-")[1]
    assert run(commands / "breezeway", "--version") == f"breezeway {version}\n"
    assert "run the whole pipeline once" in run(commands / "breezeway", "--help")


def test_a_step_says_what_it_takes(commands: Path) -> None:
    assert "--run-name" in run(commands / "python", "-m", "breezeway.steps.train", "--help")


def test_what_an_extra_would_bring_is_said(commands: Path) -> None:
    ended = subprocess.run(
        [commands / "breezeway", "demo"], cwd="/", capture_output=True, text=True, check=False
    )
    assert ended.returncode == 64
    assert "The module httpx is not installed here." in ended.stderr
    assert "pip install 'breezeway[EXTRA]', of airflow," in ended.stderr


def test_a_shipped_contract_is_found_without_a_checkout(commands: Path, tmp_path: Path) -> None:
    code = (
        "from breezeway.contract.contract import load_contract\n"
        "from breezeway.core.settings import Settings\n"
        "print(load_contract(Settings.from_environment().sensors).name)"
    )
    assert run(commands / "python", "-c", code, BREEZEWAY_HOME=str(tmp_path)) == "plant\n"


def test_airflow_lists_plugin_and_provider(install: Callable[[str], Path], tmp_path: Path) -> None:
    airflow = install("[airflow]") / "airflow"
    home = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    plugins = json.loads(run(airflow, "plugins", "--output", "json", **home))
    assert [plugin["name"] for plugin in plugins if "breezeway" in str(plugin)] == ["breezeway"]
    providers = json.loads(run(airflow, "providers", "list", "--output", "json", **home))
    assert "breezeway" in [provider["package_name"] for provider in providers]
