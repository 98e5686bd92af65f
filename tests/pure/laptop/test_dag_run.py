"""What a failed task says, as its log has it."""

import json
from pathlib import Path

from breezeway.laptop.dag_run import _last_error


def log(folder: Path, *records: dict[str, object] | str) -> Path:
    file = folder / "attempt=1.log"
    file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records))
    return file


def test_the_last_error_counts(tmp_path: Path) -> None:
    file = log(
        tmp_path,
        {"level": "info", "event": "begun"},
        {"level": "error", "event": "first"},
        "a line that is no record",
        {"level": "error", "event": "train: 3 of 10 rows have no label."},
        {"level": "info", "event": "ended"},
    )
    assert _last_error(file) == "train: 3 of 10 rows have no label."


def test_an_exception_is_named_with_its_sentence(tmp_path: Path) -> None:
    raised = [{"exc_type": "DataError", "exc_value": "no label"}, {"exc_type": "KeyError"}]
    file = log(tmp_path, {"level": "error", "event": "Task failed", "error_detail": raised})
    assert _last_error(file) == "DataError: no label"


def test_without_a_log_or_an_error_there_is_no_word(tmp_path: Path) -> None:
    assert _last_error(tmp_path / "none.log") == "it left no word."
    assert _last_error(log(tmp_path, {"level": "info", "event": "ok"})) == "it left no word."
