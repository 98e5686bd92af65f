"""A file is whole or not there, and equal values give equal bytes."""

import json

import pytest

from breezeway.core.files import write_json, write_text


def test_equal_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, None], "a": {"°C": 0.1}})
    write_json(tmp_path / "b.json", {"a": {"°C": 0.1}, "b": [1, None]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {
        "a": {"°C": 0.1},
        "b": [1, None],
    }


def test_a_value_that_json_does_not_know_leaves_the_earlier_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_nothing_is_left_aside(tmp_path):
    write_text(tmp_path / "a", "first")
    write_text(tmp_path / "a", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "second"
