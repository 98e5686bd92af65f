"""What a person sees in the shell when a run has ended."""

import json

import pytest

from breezeway.contract.contract import Contract
from breezeway.laptop import display
from tests.fixtures.plant import plant_contract
from tests.fixtures.run_results import CARD, RESULTS

CONTRACT = plant_contract()

PREDICTION = {
    "device": "m-1",
    "time": "2026-01-01T00:00:00",
    "score": 0.75,
    "alarm": True,
    "model_version": "7",
    "readings": 10,
    "milliseconds": 2.4,
    "prediction_id": "plant.7.00000001",
}
DAG_RUN = {
    "dag_run_id": "r-1",
    "run_after": "2026-01-01T00:00:00+00:00",
    "end_date": "2026-01-01T00:01:30+00:00",
}
TASKS = {"train": {"duration": 12.34}, "skipped": {"duration": None}}


def summary(
    capsys: pytest.CaptureFixture[str], contract: Contract = CONTRACT, **changed: object
) -> str:
    display.print_summary(RESULTS | changed, PREDICTION, TASKS, DAG_RUN, 95.0, contract)
    return " ".join(capsys.readouterr().out.split())


def test_the_summary_tells_of_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    said = summary(capsys)
    for fact in (
        "plant-1: 100 readings in, 98 out, 3 copies, 2 quarantined (2 not_json)",
        "warnings interval_seconds = 60, but the median interval is 10 s best",
        "max_depth 3, learning_rate 0.1235",
        "plant version 7, alarm from score 0.2500",
        "promoted: It is better.",
        "plant:7-abc",
        "m-1 at 2026-01-01T00:00:00: score 0.7500, ALARM (version 7, 10 readings, 2 ms,",
        "always on",
        "3 of 4",
        "3 of 4 21 minutes 24 hours 0.250",
        "3 of 4 faults found, half of them within 21 minutes of their start, at 0.15 false alarms "
        "a day of a device; the budget is 2.",
        "Drift among 40 recent readings: none.",
        "seconds: train 12.3 From",
        "From the trigger to the deployment 90.0 s; in all 95 s.",
    ):
        assert fact in said


def test_a_program_gets_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    display.print_facts(RESULTS, PREDICTION, TASKS, DAG_RUN, 95.0)
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["seconds"]) == ("r-1", 95)
    assert told["prediction"] == PREDICTION
    assert told["results"]["train"]["model_version"] == "7"
    assert told["task_seconds"] == {"train": 12.34, "skipped": None}


def test_costs_are_told_where_there_is_no_budget(capsys: pytest.CaptureFixture[str]) -> None:
    costs = "missed_event_cost = 10\nfalse_episode_cost = 0.5"
    said = summary(capsys, plant_contract(false_episodes_per_day=costs))
    assert "a day of a device; a missed fault counts 10, a false alarm 0.5." in said


def test_without_a_hit_there_is_no_delay(capsys: pytest.CaptureFixture[str]) -> None:
    card = CARD | {"events_hit": 0, "median_delay_seconds": None, "p90_delay_seconds": None}
    said = summary(capsys, train={**RESULTS["train"], "metrics": card})
    assert "0 of 4 - - 0.250" in said
    assert "0 of 4 faults found, at 0.15 false alarms" in said


def test_a_clock_that_is_as_good_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    train = {**RESULTS["train"], "beside_clock": "A clock is not clearly worse."}
    assert "A clock is not clearly worse. Drift" in summary(capsys, train=train)


def test_a_figure_that_there_is_not_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    assert " 0.250 - 0.500 0.612 " in summary(capsys)


def test_what_was_refused_or_rejected_is_not_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    refused = {"promoted": False, "reason": "No better than before."}
    said = summary(capsys, promote=refused, deploy=None)
    assert "refused: No better than before." in said
    assert "none; the champion serves on" in said
    assert "refused: A person rejected it." in summary(capsys, promote=None, deploy=None)


def test_seconds_of_a_task_that_waits_runs_and_has_ended() -> None:
    assert display._seconds({"duration": None, "start_date": None}) == ""
    assert display._seconds({"duration": 12.34, "start_date": "2026-01-01T00:00:00Z"}) == "12.3"
    running = display._seconds({"duration": None, "start_date": "2026-01-01T00:00:00Z"})
    assert float(running) > 0
