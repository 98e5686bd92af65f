"""A drift that can be learned from starts one retraining, whoever tries again."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.tracking import champions, registry, rest
from breezeway_airflow.retraining import StartRetraining, retraining_asset

Night = Callable[..., dict[str, Any] | None]


@pytest.fixture
def changes(request: pytest.FixtureRequest) -> dict[str, str]:
    """What the contract has in place of a line; by itself only drift starts a retraining."""
    return getattr(request, "param", {"retrain = false": "retrain = true"})


@pytest.fixture
def model(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> str:
    """A model whose champion knows May. The contract holds out two days, and wants three more."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    text = (Settings.shipped_sensors / "plant.toml").read_text()
    for line, instead in {"holdout = 0.2 ": 'holdout = "2d" ', **changes}.items():
        assert line in text
        text = text.replace(line, instead)
    (tmp_path / "sensors.toml").write_text(text)
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    monkeypatch.setenv("BREEZEWAY_SENSORS", str(tmp_path / "sensors.toml"))
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
    settings, name = Settings.from_environment(), f"pump-{uuid4().hex}"
    rest.post(settings, "registered-models/create", name=name)
    run = rest.post(settings, "runs/create", experiment_id="0")["run"]["info"]
    source = {"run_id": run["run_id"], "source": f"{run['artifact_uri']}/model"}
    rest.post(settings, "model-versions/create", name=name, **source)
    champions.promote(settings, name, "1", None, "first")
    knows(name, "2026-05-31T23:58:00+00:00")
    return name


def knows(model: str, until: str) -> None:
    scope = json.dumps({"until": until, "devices": None})
    registry.tag_version(Settings.from_environment(), model, "1", trained_on=scope)


@pytest.fixture
def night(model: str) -> Night:
    """A night's verdict → what starts a retraining, None where the task is skipped. The drift was
    announced on 3 June."""
    asset = retraining_asset(model)
    events: list[SimpleNamespace] = []
    first = {"date": "2026-06-03", "seen": "2026-06-03", "airflow_run": "nightly_drift/x"}
    registry.tag_model(Settings.from_environment(), model, "drift_announced", json.dumps(first))

    def night(
        day: int,
        verdict: str = "drifted",
        *,
        run_id: str = "",
        dies: bool = False,
        busy: int = 0,
        labels: int = 0,
        announce: bool = True,
    ) -> dict[str, Any] | None:
        when = date(2026, 6, day).isoformat()
        result = {"model_name": model, "date": when, "verdict": verdict, "labels": labels}
        run = SimpleNamespace(dag_id="nightly_drift", run_id=run_id or f"scheduled__{when}")
        instance = SimpleNamespace(get_dr_count=lambda dag_id, states: busy)
        outlet = OutletEventAccessors()
        task = StartRetraining(task_id="retrain", result=result, retraining=asset)
        run.run_type = "scheduled"
        context = {
            "dag_run": run,
            "params": {"announce": announce},
            "inlet_events": {asset: events},
            "outlet_events": outlet,
        }
        try:
            told = task.execute({**context, "ti": instance})
        except AirflowSkipException:
            return None
        assert outlet[asset].extra == told
        if not dies:
            events.append(SimpleNamespace(source_dag_id=run.dag_id, source_run_id=run.run_id))
        return told

    return night


def started(night: Night, days: range) -> list[int]:
    return [day for day in days if night(day)]


def test_it_waits_and_is_repeated_and_ends(night: Night) -> None:
    assert started(night, range(3, 31)) == [7, 10, 13, 16, 19]


def test_it_is_over_when_the_champion_knows_the_drift(night: Night, model: str) -> None:
    assert started(night, range(3, 10)) == [7]
    knows(model, "2026-06-09T23:58:00+00:00")
    assert started(night, range(10, 14)) == []
    assert night(14), "five more days that it does not know, and still another than it knows"


def test_another_drift_starts_others(night: Night, model: str) -> None:
    assert started(night, range(3, 8)) == [7]
    second = {"date": "2026-06-15", "seen": "2026-06-15", "airflow_run": "nightly_drift/y"}
    registry.tag_model(Settings.from_environment(), model, "drift_announced", json.dumps(second))
    assert started(night, range(15, 22)) == [19]


def test_without_drift_there_is_none(night: Night) -> None:
    assert [night(day, "quiet") for day in (7, 8)] == [None, None]


def test_the_event_says_why(night: Night) -> None:
    told = night(7)
    assert told["date"] == "2026-06-07"
    assert "does not know 5 of the 5 days since 2026-06-03" in told["reason"]


def test_no_second_run_waits(night: Night) -> None:
    assert not night(7, busy=1)
    assert night(8)


def test_another_attempt_makes_the_event_that_is_missing(night: Night) -> None:
    assert night(7, dies=True)
    assert night(7)
    assert not night(7)


def test_a_night_that_is_checked_again_by_hand_starts_no_second_one(night: Night) -> None:
    assert night(7)
    assert not night(7, run_id="manual")


@pytest.mark.parametrize("changes", [{"refit = false": "every_days = 7"}], indirect=True)
def test_new_days_start_one_and_a_refusal_is_not_repeated_the_next_night(night, model) -> None:
    assert started(lambda day: night(day, "quiet"), range(1, 20)) == [7, 14]
    knows(model, "2026-06-20T23:58:00+00:00")
    assert started(lambda day: night(day, "quiet"), range(20, 30)) == [27]


@pytest.mark.parametrize("changes", [{"refit = false": "every_labels = 10"}], indirect=True)
def test_new_labels_start_one(night) -> None:
    counts = {1: 500, 2: 509, 3: 510, 4: 519, 5: 525}
    days = [day for day, labels in counts.items() if night(day, "quiet", labels=labels)]
    assert days == [3, 5]


@pytest.mark.parametrize("changes", [{"refit = false": "every_days = 9"}], indirect=True)
def test_drift_starts_none_if_the_contract_does_not_say_so(night) -> None:
    assert started(night, range(3, 10)) == [9]


def test_a_tag_that_was_overwritten_is_named(night: Night, model: str) -> None:
    registry.tag_model(Settings.from_environment(), model, "retrainings", "soon")
    with pytest.raises(DataError, match=r"breezeway.retrainings .* is 'soon'"):
        night(7)


def test_a_night_of_the_past_starts_none_unless_asked(night: Night) -> None:
    assert night(10, announce=False) is None
    assert night(10)
