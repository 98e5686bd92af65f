"""The command line: one sentence and an exit code for what is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from breezeway import cli
from breezeway.core.settings import Settings


@pytest.fixture
def breezeway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process: its exit code, standard output and standard error."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))

    def run(*words: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert isinstance(ended.value.code, int)
        return (ended.value.code, *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("words", "environment", "sentence"),
    [
        (["nothing"], {}, "invalid choice: 'nothing'"),
        (["simulate", "--days", "few"], {}, "argument --days: invalid int value: 'few'"),
        (["simulate", "--days", "0"], {}, "--days: expected at least 1, got 0."),
        (["versions"], {"BREEZEWAY_THREADS": "all"}, "BREEZEWAY_THREADS: "),
        (["demo", "--sensors", "moon"], {}, "expected a file, or one of ai4i, plant, skab."),
        (["demo", "--sensors", "skab"], {}, "make demo SENSORS=skab DATA=FOLDER. They are found"),
        (["demo", "--sensors", "ai4i", "--data", "nowhere"], {}, "nowhere: there is no"),
    ],
)
def test_what_is_wrong_is_one_sentence(breezeway, words, environment, sentence) -> None:
    code, out, said = breezeway(*words, **environment)
    assert (code, out) == (64, "")
    assert sentence in said
    assert said.count("\n") == 1


def test_help_names_every_command(breezeway) -> None:
    code, out, _ = breezeway("--help")
    assert code == 0
    assert all(command in out for command in cli.COMMANDS)


def test_a_running_platform_is_asked_without_being_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {
        "mlflow_url": "http://127.0.0.1:5003",
        "serving_url": "http://127.0.0.1:3001",
        "sensors": "/mill.toml",
        "raw_url": "sqlite:////mill.db",
    }
    for name in running:
        monkeypatch.setenv(f"BREEZEWAY_{name.upper()}", "restored afterwards")
        monkeypatch.delenv(f"BREEZEWAY_{name.upper()}")
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "platform.json").write_text(json.dumps(running))
    settings = cli._beside_a_running_platform(Settings.from_environment())
    assert settings.mlflow_url == "http://127.0.0.1:5003"
    assert settings.serving_url == "http://127.0.0.1:3001"
    assert settings.sensors == Path("/mill.toml")
    assert settings.raw_address == "sqlite:////mill.db"


def test_a_reader_that_ends_early_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m breezeway versions | true"
    said = subprocess.run(
        ["sh", "-c", command],
        env=os.environ | {"BREEZEWAY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.stdout, said.stderr) == ("", "")
