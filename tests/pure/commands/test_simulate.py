"""The command `simulate` names an argument that is out of bounds, and fills no store."""

import argparse

import pytest

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
