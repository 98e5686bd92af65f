"""A file is whole or not there, and equal values give equal bytes."""

import errno
import json
import os
from pathlib import Path

import pytest

from breezeway.core.errors import ServiceUnavailable
from breezeway.core.files import no_space, write_json, write_text, writing


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux")
def test_a_full_disk_has_the_name_of_the_file(tmp_path):
    with (
        pytest.raises(OSError) as failed,
        writing(tmp_path / "rows.arrow"),
        open("/dev/full", "w") as f,
    ):
        f.write("row")
        f.flush()
    told = no_space(failed.value)
    assert isinstance(told, ServiceUnavailable)
    assert f"No space is left to write {tmp_path / 'rows.arrow'}" in str(told)


def test_another_error_is_not_renamed(tmp_path):
    with pytest.raises(OSError) as failed, writing(tmp_path / "rows.arrow"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert failed.value.filename is None
    assert no_space(failed.value) is None
    assert no_space(ValueError("no number")) is None
