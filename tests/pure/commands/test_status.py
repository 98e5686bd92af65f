"""The command `status` where no platform is up."""

import os

import pytest

from breezeway import cli


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_platform_is_one_sentence_that_says_what_to_do(tmp_path, monkeypatch, capsys, options):
    away = {"MLFLOW_URL": "http://127.0.0.1:1", "SERVING_URL": "http://127.0.0.1:2"}
    environment = {"BREEZEWAY_HOME": str(tmp_path)} | {f"BREEZEWAY_{k}": v for k, v in away.items()}
    monkeypatch.setattr(os, "environ", os.environ | environment)
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", *options])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (69, "")
    assert said.err.startswith("No platform is up: neither MLflow answers at http://127.0.0.1:1")
    assert "make up" in said.err and said.err.count("\n") == 1


def test_help_has_an_example_and_the_defaults(capsys):
    with pytest.raises(SystemExit):
        cli.main(["status", "--help"])
    said = capsys.readouterr().out
    assert "breezeway status --json | jq" in said
    assert "http://127.0.0.1:5000" in said and "Exit code" in said
