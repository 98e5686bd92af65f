"""Which task Airflow starts first, from what its scheduler keeps of a DAG."""

import importlib
import json
from functools import cache
from typing import Any

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.serialization.serialized_objects import DagSerialization
from airflow.task.priority_strategy import validate_and_load_priority_weight_strategy

from tests.fixtures import ROOT

TONIGHT, BY_HAND, BACKFILL = (f"{kind}__2026" for kind in ("scheduled", "manual", "backfill"))


@cache
def kept(dag_id: str) -> Any:
    """The DAG, after the way to the scheduler through the database."""
    spec = importlib.util.spec_from_file_location(dag_id, ROOT / "dags" / f"{dag_id}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(module.dag))))


def weight(dag_id: str, task_id: str, run_id: str = BY_HAND) -> int:
    task = kept(dag_id).get_task(task_id)
    waiting = TaskInstance(task=task, run_id=run_id, dag_version_id=None)
    # As Airflow does when it makes the task of a run; a mapped one has the rule's path.
    return validate_and_load_priority_weight_strategy(task.weight_rule).get_weight(waiting)


@pytest.mark.parametrize("dag_id", [path.stem for path in (ROOT / "dags").glob("*.py")])
def test_every_task_has_a_priority_a_mapped_one_too(dag_id: str) -> None:
    for task in kept(dag_id).tasks:
        by_hand, past = (weight(dag_id, task.task_id, run) for run in (BY_HAND, BACKFILL))
        assert (by_hand in (10, 40, 100), past) == (True, by_hand // 2), task.task_id


def test_service_goes_before_tonight_before_backfills_before_training() -> None:
    service = {weight("rollback", "rollback"), weight("rollback", "deploy")}
    service |= {weight("training", "deploy"), weight("canary", "deploy")}
    tonight = {weight("nightly_drift", "drift", TONIGHT), weight("history", "preprocess", TONIGHT)}
    past = {weight("nightly_drift", "drift", BACKFILL), weight("history", "preprocess", BACKFILL)}
    training = {weight("training", task) for task in ("preprocess", "tune", "train", "test")}
    training |= {weight("backtest", "backtest", run) for run in (TONIGHT, BACKFILL)}
    assert min(service) > max(tonight) >= min(tonight) > max(past) > max(training)


@pytest.mark.parametrize(
    ("dag_id", "heavy"),
    [
        ("training", {"preprocess", "tune", "train", "test"}),
        ("nightly_drift", {"drift"}),
        ("history", {"preprocess"}),
        ("backtest", {"backtest"}),
        ("score", {"score"}),
        ("rollback", set()),
        ("canary", set()),
    ],
)
def test_heavy_steps_wait_for_a_core_and_what_changes_the_service_does_not(
    dag_id: str, heavy: set[str]
) -> None:
    assert {task.task_id for task in kept(dag_id).tasks if task.pool == "compute"} == heavy


def test_a_pod_keeps_its_slot_while_its_task_is_deferred() -> None:
    pool = json.loads((ROOT / "dags" / "pools.json").read_text())["compute"]
    assert pool["include_deferred"] is True
