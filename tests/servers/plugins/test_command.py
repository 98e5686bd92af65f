"""A step's options, log lines and outcome, wherever it runs."""

import logging
import subprocess
from datetime import UTC, datetime, time, timedelta
from types import SimpleNamespace

import pytest

from breezeway.core.errors import InternalError, TryAgain, UsageError
from breezeway_airflow import command, notify
from breezeway_airflow.command import log_record, report_drift, step_options, step_result


def test_empty_arguments_are_left_out() -> None:
    arguments = {"tag": "v1", "run_name": "", "model_name": None, "count": 0, "query": "-- a"}
    assert step_options(arguments) == ["--tag=v1", "--count=0", "--query=-- a"]


def test_an_argument_that_no_command_line_holds_is_named() -> None:
    with pytest.raises(UsageError, match=r"'labels' takes 131072 bytes"):
        step_options({"labels": "x" * (131_072 - len("--labels="))})
    words = step_options({"labels": "x" * (131_071 - len("--labels="))})
    subprocess.run(["true", *words], check=True)


def test_a_line_of_no_form_continues_the_one_before() -> None:
    assert log_record("2026-11-21 12:00:00,123 ERROR it broke", logging.INFO) == (40, "it broke")
    assert log_record("  File x", logging.ERROR) == (40, "  File x")
    assert log_record("2026-11-21 12:00:00,123 LOUD no level", logging.INFO)[0] == logging.INFO


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (0, "", InternalError),
        (0, '{"rows": 1', InternalError),
        (137, '{"rows": 1', TryAgain),
        (-9, "", TryAgain),
        (99, "", InternalError),
    ],
)
def test_a_result_that_is_not_whole_is_none(code: int, text: str, error: type) -> None:
    with pytest.raises(error, match="The step train"):
        step_result("train", code, text)


def test_a_result_may_be_empty() -> None:
    assert step_result("train", 0, "{}") == {}


@pytest.mark.parametrize(
    ("ago", "run_type", "announce", "moved"),
    [
        (1, "scheduled", False, True),
        (1, "manual", False, True),
        (1, "backfill", False, False),
        (1, "backfill", True, True),
        (2, "scheduled", False, False),  # made up: the last night follows
        (300, "manual", False, False),
        (300, "manual", True, True),
    ],
)
def test_only_the_last_night_moves_the_gauges(
    monkeypatch: pytest.MonkeyPatch, ago: int, run_type: str, announce: bool, moved: bool
) -> None:
    gauges: dict[str, int] = {}
    gauge = lambda name, value, tags: gauges.update({name: value})  # noqa: E731
    monkeypatch.setattr(command.stats, "gauge", gauge)
    night = datetime.now(UTC).date() - timedelta(days=ago)
    result = {"model_name": "plant", "date": f"{night}", "verdict": "drifted"}
    result |= {"drifted_count": 2, "sensor_fault_count": 1, "absent_nights": 0, "absent_days": 3}
    result |= {"late_days": 1}
    result["sensor_faults"] = [{"device": "m-1", "fault": "silent", "detail": "no reading"}]
    told: dict[str, str] = {}
    monkeypatch.setattr(notify, "tell", lambda _, event, title, why: told.update({event: why}))
    context = {"dag_run": SimpleNamespace(run_type=run_type), "params": {"announce": announce}}
    report_drift(context, result)
    assert bool(gauges) == bool(told) == moved
    if moved:
        end = datetime.combine(night + timedelta(days=1), time(tzinfo=UTC))
        assert gauges == {
            "breezeway.drifted_columns": 2,
            "breezeway.sensor_faults": 1,
            "breezeway.absent_nights": 0,
            "breezeway.absent_days": 3,
            "breezeway.late_days": 1,
            "breezeway.last_night": end.timestamp(),
        }
        assert told.keys() == {"fault", "gap"}
        assert "m-1: no reading" in told["fault"]
        assert "3 days have readings" in told["gap"]
        assert "nights" not in told["gap"]
