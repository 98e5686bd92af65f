"""What JupyterLab is started with, and that no output is kept with the notebook."""

import json
import os
import sys
from pathlib import Path

import pytest

from breezeway import cli
from breezeway.commands import notebook
from breezeway.core.settings import Settings


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """Of each process that would be started: its program, its words, its environment."""
    found: list = []

    def become(*call) -> None:
        found.append(call)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path / "home"))
    python = tmp_path / "notebook" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return found


def start(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["notebook", *words])
    return ended.value.code


def test_it_listens_on_loopback_with_a_token_and_asks_nobody(started, tmp_path) -> None:
    assert start("--port=8899") == 0
    ((program, words, variables),) = started
    assert program == tmp_path / "notebook" / "bin" / "python"
    assert {"--ServerApp.ip=127.0.0.1", "--ServerApp.port=8899"} <= set(words)
    assert not [word for word in words if "token" in word.lower() or "password" in word.lower()]
    assert "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate" in words
    folder = Path(variables["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0])
    off = json.loads((folder / "labconfig" / "page_config.json").read_text())
    assert off["disabledExtensions"] == {"@jupyterlab/apputils-extension:announcements": True}
    assert variables["DO_NOT_TRACK"] == "1"
    assert variables["BREEZEWAY_HOME"] == str(tmp_path / "home")


def test_what_a_person_wrote_is_never_overwritten(started, tmp_path) -> None:
    start()
    own = tmp_path / "home" / "notebooks" / notebook.NAME
    assert own.read_bytes() == (notebook.FOLDER / notebook.NAME).read_bytes()
    own.write_text("mine")
    start()
    assert own.read_text() == "mine"
    assert own.parent.stat().st_mode & 0o077 == 0


def test_without_jupyterlab_it_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)
    with pytest.raises(notebook.UsageError, match="make notebook"):
        notebook.interpreter()


def test_its_notebooks_find_the_stores_wherever_they_are(tmp_path) -> None:
    settings = Settings(home=tmp_path, mlflow_url="http://127.0.0.1:15000")
    variables = notebook.environment(settings)
    assert variables["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:15000"
    assert Path(variables["BREEZEWAY_SENSORS"]).is_absolute()


def test_notebooks_are_kept_without_outputs() -> None:
    for path in notebook.FOLDER.glob("**/*.ipynb"):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert set(document["metadata"]) == {"kernelspec", "language_info"}
        for cell in document["cells"]:
            assert cell["metadata"] == {}
            if cell["cell_type"] == "code":
                assert (cell["outputs"], cell["execution_count"]) == ([], None)
