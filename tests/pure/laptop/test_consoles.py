"""Commands of Airflow and MLflow become those of the platform that runs here."""

import json
import os
import sys
from pathlib import Path

import pytest

from breezeway import cli
from breezeway.core.errors import UsageError
from breezeway.laptop.programs import AIRFLOW_DATABASE, MLFLOW_DATABASE


class Became(Exception):
    """In place of the process that a command becomes."""


@pytest.fixture
def became(tmp_path, monkeypatch) -> list:
    """What the process became: program, words, environment."""
    run = tmp_path / "a home" / "run"
    run.mkdir(parents=True)
    ports = {"airflow": 8081, "mlflow": 5001, "serving": 3001, "postgres": 5433}
    urls = {f"{part}_url": f"http://127.0.0.1:{port}" for part, port in ports.items()}
    facts = {"host": "127.0.0.1", "ports": ports, "dags": "/some/dags", "process": os.getpid()}
    (run / "platform.json").write_text(json.dumps(urls | facts))
    monkeypatch.setenv("BREEZEWAY_HOME", str(run.parent))
    for name in ("MLFLOW_URL", "SERVING_URL", "DAGS"):
        # The command sets them; here the test's own environment gets them back.
        monkeypatch.setenv(f"BREEZEWAY_{name}", "")
        monkeypatch.delenv(f"BREEZEWAY_{name}")
    found: list = []

    def become(*given: object) -> None:
        found.extend(given)
        raise Became

    monkeypatch.setattr(os, "execve", become)
    return found


@pytest.mark.parametrize(
    "words",
    [
        ["backfill", "create", "--dag-id", "score", "--from-date", "2026-01-01", "--dry-run"],
        ["dags", "list", "--help"],
        ["version"],
        [],
    ],
)
@pytest.mark.parametrize("part", ["airflow", "mlflow"])
def test_words_stay_as_they_are_typed(became, part, words):
    with pytest.raises(Became):
        cli.main([part, *words])
    assert became[:2] == [sys.executable, [sys.executable, "-m", part, *words]]


def test_each_gets_its_own_database_and_the_platforms_addresses(became):
    with pytest.raises(Became):
        cli.main(["airflow", "version"])
    variables = became[2]
    assert variables[AIRFLOW_DATABASE].endswith("@127.0.0.1:5433/airflow")
    assert variables["AIRFLOW__CORE__DAGS_FOLDER"] == "/some/dags"
    assert variables["AIRFLOW_HOME"] == str(Path(variables["BREEZEWAY_HOME"]) / "airflow")
    assert MLFLOW_DATABASE not in variables
    became.clear()
    with pytest.raises(Became):
        cli.main(["mlflow", "experiments", "search"])
    variables = became[2]
    assert variables["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5001"
    assert variables[MLFLOW_DATABASE].endswith("@127.0.0.1:5433/mlflow")
    assert AIRFLOW_DATABASE not in variables


def test_without_a_platform_it_is_said_how_to_start_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main(["airflow", "dags", "list"])
    assert ended.value.code == UsageError.exit_code
    assert "start one with `breezeway up`" in capsys.readouterr().err
