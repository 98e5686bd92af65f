"""The command `simulate` says what it has done, or which argument is out of bounds."""

import argparse
import json
import os

import pytest

from breezeway import cli
from breezeway.commands import simulate
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings


@pytest.mark.parametrize(
    "arguments",
    [
        ("--devices", "0"),
        ("--devices", "100"),
        ("--days", "0"),
        ("--seed", "-1"),
        ("--bad-share", "1.1"),
        ("--bad-share", "nan"),
        ("--drift", "inf"),
    ],
)
def test_arguments_out_of_bounds_are_named(tmp_path, arguments):
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    with pytest.raises(UsageError, match=arguments[0]):
        simulate.run(parser.parse_args(arguments), Settings(home=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_its_result_is_json_on_standard_output(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {"BREEZEWAY_HOME": str(tmp_path)})
    with pytest.raises(SystemExit) as ended:
        cli.main(["simulate", "--devices", "1", "--days", "1"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["readings"] == 1440
