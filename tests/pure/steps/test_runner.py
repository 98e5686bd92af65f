"""A step as a command: one JSON result, one exit code, one sentence for what is wrong."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from breezeway.core.errors import BreezewayError, InternalError
from breezeway.steps.runner import RESULT_LIMIT_BYTES, write_result
from tests.fixtures.processes import eventually

STEP = """
import errno, os, sys, time
from breezeway.core import errors
from breezeway.steps.runner import run_step

def add_arguments(parser):
    parser.add_argument("--count", type=int, default=1)

def run(arguments, settings):
{}

run_step("probe", "Probes.", add_arguments, run)
"""


def start(folder: Path, body: str, *words: str, **variables: str) -> subprocess.Popen[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BREEZEWAY_")}
    code = STEP.format("\n".join(f"    {line}" for line in body.splitlines()))
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env={
            **inherited,
            "BREEZEWAY_HOME": str(folder),
            "BREEZEWAY_RESULT": str(folder / "result.json"),
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcome(folder: Path, step: subprocess.Popen[str]) -> tuple[int, str, dict[str, object]]:
    """Exit code, log and result of a step; the result is empty where there is none."""
    log, _ = step.communicate(timeout=120)
    result = folder / "result.json"
    return step.returncode, log, json.loads(result.read_text()) if result.exists() else {}


def test_a_result_is_logged_and_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    step = start(tmp_path, "return {'rows': arguments.count, 'unit': '°C'}", "--count", "3")
    code, log, result = outcome(tmp_path, step)
    assert (code, result) == (0, {"rows": 3, "unit": "°C"}), log
    assert 'INFO result {"rows": 3, "unit": "°C"}' in log
    assert "probe done in" in log
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("error", BreezewayError.__subclasses__(), ids=lambda e: e.__name__)
def test_an_error_of_the_tree_is_a_sentence_and_its_exit_code(
    tmp_path: Path, error: type[BreezewayError]
) -> None:
    step = start(tmp_path, f"raise errors.{error.__name__}('row 7: too warm.')")
    code, log, result = outcome(tmp_path, step)
    assert code == error.exit_code, log
    assert result == {"error": "row 7: too warm.", "exit_code": error.exit_code}
    assert "ERROR probe: row 7: too warm." in log
    assert "Traceback" not in log


def test_a_defect_of_ours_has_a_traceback_in_the_log_and_a_sentence_in_the_result(
    tmp_path: Path,
) -> None:
    code, log, result = outcome(tmp_path, start(tmp_path, "return {}['nothing']"))
    assert code == InternalError.exit_code
    assert result == {"error": "KeyError: 'nothing'", "exit_code": 70}
    assert "Traceback" in log


def test_a_full_disk_may_be_tried_again(tmp_path: Path) -> None:
    body = "raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), '/data/part')"
    code, log, result = outcome(tmp_path, start(tmp_path, body))
    assert (code, result["error"]) == (69, "No space is left on the device: /data/part.")
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
    tmp_path: Path, words: list[str], variables: dict[str, str], sentence: str
) -> None:
    code, log, _ = outcome(tmp_path, start(tmp_path, "return {}", *words, **variables))
    assert code == 64
    assert sentence in log
    assert "Traceback" not in log


def test_asked_to_end_it_cleans_up_and_leaves_no_result(tmp_path: Path) -> None:
    body = (
        "try:\n    open('begun', 'w').close()\n    time.sleep(60)\n"
        "finally:\n    open('cleaned', 'w').close()"
    )
    step = start(tmp_path, f"os.chdir({str(tmp_path)!r})\n{body}")
    eventually((tmp_path / "begun").exists)
    step.send_signal(signal.SIGTERM)
    code, _, result = outcome(tmp_path, step)
    assert (code, result) == (128 + signal.SIGTERM, {})
    assert (tmp_path / "cleaned").exists()


def test_a_long_error_is_cut_so_that_it_fits(tmp_path: Path) -> None:
    code, _, result = outcome(tmp_path, start(tmp_path, "raise errors.DataError('ü' * 5000)"))
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
