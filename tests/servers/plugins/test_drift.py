"""One drift is announced once, however many nights it lasts and whoever tries again."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from breezeway.core.settings import Settings
from breezeway.tracking import rest
from breezeway_airflow.drift import AnnounceDrift, drift_asset

Check = Callable[..., dict[str, Any] | None]


@pytest.fixture
def check(mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """A night's verdict → what is announced, None where the task is skipped. The contract
    remembers a change for three nights."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
    name = f"pump-{uuid4().hex}"
    rest.post(Settings.from_environment(), "registered-models/create", name=name)
    asset = drift_asset(name)
    events: list[SimpleNamespace] = []

    def check(
        day: str,
        verdict: str,
        run_id: str | None = None,
        dies: bool = False,
        run_type: str = "scheduled",
        announce: bool = True,
    ):
        result = {
            "model_name": name,
            "model_version": "1",
            "date": day,
            "verdict": verdict,
            "reason": "temperature +6 °C",
            "drifted": [{"column": "temperature", "device": None, "change": "+6 °C"}],
            "drifted_count": 1,
        }
        run_id = run_id or f"scheduled__{day}"
        run = SimpleNamespace(dag_id="nightly_drift", run_id=run_id, run_type=run_type)
        outlet = OutletEventAccessors()
        task = AnnounceDrift(task_id="announce", result=result, drift=asset)
        try:
            told = task.execute(
                {
                    "dag_run": run,
                    "params": {"announce": announce},
                    "inlet_events": {asset: events},
                    "outlet_events": outlet,
                }
            )
        except AirflowSkipException:
            return None
        assert outlet[asset].extra == told
        assert json.loads(json.dumps(told)) == told
        if not dies:
            events.append(SimpleNamespace(source_dag_id=run.dag_id, source_run_id=run.run_id))
        return told

    return check


def test_one_drift_is_announced_once(check: Check) -> None:
    verdicts = {
        "2026-06-01": "quiet",
        "2026-06-02": "suspected",
        "2026-06-03": "drifted",  # announced
        "2026-06-04": "drifted",
        "2026-06-05": "quiet",  # it may be back, and then is the same
        "2026-06-06": "drifted",
        "2026-06-07": "not judged",
        "2026-06-09": "quiet",
        "2026-06-10": "quiet",  # over
        "2026-06-13": "drifted",  # announced
    }
    announced = [day for day, verdict in verdicts.items() if check(day, verdict)]
    assert announced == ["2026-06-03", "2026-06-13"]


def test_the_event_says_what_drifted(check: Check) -> None:
    told = check("2026-06-03", "drifted")
    assert told["drifted"] == [{"column": "temperature", "device": None, "change": "+6 °C"}]
    assert told["reason"] == "temperature +6 °C"
    assert (told["model_version"], told["date"]) == ("1", "2026-06-03")


def test_nights_that_nobody_could_judge_end_no_drift(check: Check) -> None:
    assert check("2026-06-03", "drifted")
    for day in range(4, 20):
        assert not check(f"2026-06-{day:02}", "not judged")
    assert not check("2026-06-20", "drifted")


def test_nights_may_be_checked_in_any_order(check: Check) -> None:
    assert check("2026-06-09", "drifted")
    assert not check("2026-06-07", "drifted")
    assert not check("2026-06-10", "drifted")
    assert not check("2026-06-01", "quiet")  # says nothing about the nights after it
    assert not check("2026-06-11", "drifted")


def test_another_attempt_makes_the_event_that_is_missing(check: Check) -> None:
    assert check("2026-06-03", "drifted", dies=True)
    assert not check("2026-06-04", "drifted")
    assert check("2026-06-03", "drifted")


def test_a_run_that_is_cleared_makes_no_second_event(check: Check) -> None:
    assert check("2026-06-03", "drifted")
    assert not check("2026-06-03", "drifted")


def ago(days: int) -> str:
    return f"{datetime.now(UTC).date() - timedelta(days=days)}"


def test_a_backfill_tells_nobody_and_is_no_part_of_a_drift(check: Check) -> None:
    assert not check(ago(3), "drifted", run_type="backfill", announce=False)
    assert check(ago(2), "drifted", announce=False)  # the first that anybody hears of
    assert not check(ago(9), "quiet", run_type="backfill", announce=False)
    assert not check(ago(1), "drifted", announce=False)


def test_a_backfill_that_is_asked_to_announces(check: Check) -> None:
    assert check(ago(300), "drifted", run_type="backfill", announce=True)
    assert not check(ago(299), "drifted", run_type="backfill", announce=True)


def test_nights_that_are_made_up_wake_somebody_once(check: Check) -> None:
    nights = [check(ago(days), "drifted", announce=False) for days in range(28, 0, -1)]
    assert [bool(told) for told in nights] == [True] + [False] * 27


def test_a_check_of_long_ago_by_hand_tells_nobody(check: Check) -> None:
    assert not check(ago(29), "drifted", run_type="manual", announce=False)
    assert check(ago(28), "drifted", run_type="manual", announce=False)
