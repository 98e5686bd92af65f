"""A step as a command: one JSON result, one exit code, one sentence for what is wrong."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from breezeway.core.errors import BreezewayError, DataError, InternalError
from breezeway.steps.runner import RESULT_LIMIT_BYTES, run_step, write_result

Outcome = tuple[int, str, dict[str, object]]


@pytest.fixture
def step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., Outcome]]:
    """Runs a step in this process: its exit code, log and result, empty where there is none."""
    result = tmp_path / "result.json"
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    monkeypatch.setenv("BREEZEWAY_RESULT", str(result))
    caplog.set_level(logging.INFO)
    handler = signal.getsignal(signal.SIGTERM)

    def run(work: Callable[[int], dict[str, Any]], *words: str, **variables: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["probe", *words])
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            run_step(
                "probe",
                "Probes.",
                lambda parser: parser.add_argument("--count", type=int, default=1),
                lambda arguments, _: work(arguments.count),
            )
        written = json.loads(result.read_text()) if result.exists() else {}
        assert isinstance(ended.value.code, int)
        return ended.value.code, caplog.text, written

    yield run
    signal.signal(signal.SIGTERM, handler)


def failing(error: Exception) -> Callable[[int], dict[str, Any]]:
    def work(_: int) -> dict[str, Any]:
        raise error

    return work


def test_a_result_is_logged_and_written_and_nothing_else_is_left(step, tmp_path: Path) -> None:
    code, log, result = step(lambda count: {"rows": count, "unit": "°C"}, "--count", "3")
    assert (code, result) == (0, {"rows": 3, "unit": "°C"}), log
    assert 'result {"rows": 3, "unit": "°C"}' in log
    assert "probe done in" in log
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("error", BreezewayError.__subclasses__(), ids=lambda e: e.__name__)
def test_an_error_of_the_tree_is_a_sentence_and_its_exit_code(
    step, error: type[BreezewayError]
) -> None:
    code, log, result = step(failing(error("row 7: too warm.")))
    assert code == error.exit_code, log
    assert result == {"error": "row 7: too warm.", "exit_code": error.exit_code}
    assert "probe: row 7: too warm." in log
    assert "Traceback" not in log


def test_a_defect_of_ours_has_a_traceback_in_the_log_and_a_sentence_in_the_result(step) -> None:
    code, log, result = step(failing(KeyError("nothing")))
    assert code == InternalError.exit_code
    assert result == {"error": "KeyError: 'nothing'", "exit_code": 70}
    assert "Traceback" in log


def test_a_full_disk_may_be_tried_again(step) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/part")
    code, log, result = step(failing(full))
    assert (code, result["error"]) == (
        69,
        "No space is left to write /data/part: remove something, then try again.",
    )
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("words", "variables", "sentence"),
    [
        (["--count", "few"], {}, "argument --count: invalid int value: 'few'"),
        (["--colour", "red"], {}, "unrecognized arguments: --colour red"),
        ([], {"BREEZEWAY_THREADS": "all"}, "BREEZEWAY_THREADS"),
    ],
)
def test_a_wrong_argument_or_setting_is_a_usage_error(
    step, words: list[str], variables: dict[str, str], sentence: str
) -> None:
    code, log, _ = step(lambda _: {}, *words, **variables)
    assert code == 64
    assert sentence in log
    assert "Traceback" not in log


STEP = """
import sys, time
from breezeway.steps.runner import run_step

def run(arguments, settings):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleaned", flush=True)

run_step("probe", "Probes.", lambda parser: None, run)
"""


def test_asked_to_end_it_cleans_up_and_leaves_no_result(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    with subprocess.Popen(
        [sys.executable, "-c", STEP],
        env=os.environ | {"BREEZEWAY_HOME": str(tmp_path), "BREEZEWAY_RESULT": str(result)},
        stdout=subprocess.PIPE,
        text=True,
    ) as step:
        assert step.stdout is not None
        assert step.stdout.readline() == "begun\n"
        step.send_signal(signal.SIGTERM)
        rest, _ = step.communicate(timeout=60)
    assert (step.returncode, rest) == (128 + signal.SIGTERM, "cleaned\n")
    assert not result.exists()


def test_a_long_error_is_cut_so_that_it_fits(step, tmp_path: Path) -> None:
    code, _, result = step(failing(DataError("ü" * 5000)))
    assert code == 65
    assert set(str(result["error"])) == {"ü"}
    assert len((tmp_path / "result.json").read_bytes()) <= RESULT_LIMIT_BYTES


def test_a_result_that_no_termination_message_would_hold_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match=r"has 50\d\d bytes; 4096 are allowed"):
        write_result(tmp_path / "result.json", {"text": "x" * 5000})
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_json_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_result(tmp_path / "result.json", {"score": float("nan")})


def test_a_result_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    for number in (1, 2):
        write_result(tmp_path / "result.json", {"number": number})
    assert json.loads((tmp_path / "result.json").read_text()) == {"number": 2}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_given_termination_message_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod its folder is not writable; to root, who may run this test, every folder is."""
    given = tmp_path / "termination-log"
    given.touch()
    before = given.stat().st_ino
    monkeypatch.setattr(os, "access", lambda *_: False)
    write_result(given, {"rows": 1})
    assert json.loads(given.read_text()) == {"rows": 1}
    assert given.stat().st_ino == before
