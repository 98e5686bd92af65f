"""The training DAG: what each choice of steps runs and skips, by Airflow's own scheduling."""

from collections.abc import Callable, Iterator
from itertools import combinations
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.sdk import DAG, DagRunState, timezone
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowSkipException, DownstreamTasksSkipped
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy.orm import Session

from breezeway.core.settings import Settings
from breezeway_airflow import form
from breezeway_airflow.dvc import PublishDataset, PublishParameters
from breezeway_airflow.registry import PromoteModel
from breezeway_airflow.retraining import skip_if_another_runs
from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step
from tests.fixtures import ROOT, airflow, run_results

TASKS = {
    "preprocess": ["preprocess", "publish_data"],
    "tune": ["tune", "publish_params"],
    "train": ["train"],
    "test": ["test"],
    "promote": ["promote"],
    "deploy": ["deploy"],
}
SUBSETS = [list(c) for n in range(1, 7) for c in combinations(form.STEPS, n)]

FORM = {
    "query": "SELECT 1",
    "first_day": "2026-11-01",
    "last_day": "2026-11-20",
    "test_query": "SELECT 2",
    "tag": "v1",
    "count": 3,
    "run_name": "nightly",
    "model_name": "pump",
    "model_version": "3",
    "force": "no other",
}
OWN_RESULTS: dict[str, dict[str, Any]] = {
    "preprocess": {"folder": "/scratch/v1/dataset"},
    "publish_data": {"tag": "v1"},
    "tune": {"params_file": "/scratch/v1/params.json"},
    "publish_params": {"tag": "v1-params-1"},
    "train": {"model_version": "7"},
    "test": {"model_version": "7"},
    "promote": {"model_version": "7", "promoted": True},
    "deploy": {"deployment": "pump-7"},
}
RESULTS = {task: run_results.RESULTS.get(task, {}) | own for task, own in OWN_RESULTS.items()}


@pytest.fixture(scope="module")
def dag(airflow_database) -> Iterator[DAG]:
    with airflow.stored_dags() as dags:
        yield dags["training"]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, Any]]]:
    """What each task was given, in order of execution; the work itself is left out."""
    given: dict[str, dict[str, Any]] = {}

    def execute(self, context):
        fields = {name: getattr(self, name) for name in self.template_fields}
        given[self.task_id] = fields.get("arguments", fields)
        return RESULTS[self.task_id]

    for operator in (Step, PublishDataset, PublishParameters, PromoteModel):
        monkeypatch.setattr(operator, "execute", execute)
    monkeypatch.setattr(form, "check", lambda params, moment, settings: dict(FORM))
    yield given


def run(dag, steps: list[str]) -> dict[str, str]:
    finished = dag.test(run_conf={"steps": steps})
    return {ti.task_id: str(ti.state) for ti in finished.get_task_instances()}


def schedule(
    dag: DAG, steps: list[str], failing: str = "", rejecting: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Lets Airflow's scheduler decide about a run, in which each task that it starts succeeds.

    Only the branch is executed. So every choice can be tried in the time of a few real runs.

    Returns:
        task → state, with the run's own under `dag`; tasks in the order in which they started,
        those that started at the same time as one string.
    """
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    order = []
    with create_session() as session:
        run = stored.create_dagrun(
            run_id=f"manual__{uuid4()}",
            run_after=timezone.utcnow(),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        run.dag = stored
        while run.state == DagRunState.RUNNING:
            ready, _ = run.update_state(session=session, execute_callbacks=False)
            order += [" ".join(sorted(ti.task_id for ti in ready))] if ready else []
            for ti in ready:
                ti.state = "failed" if ti.task_id == failing else "success"
                skips = []
                if ti.task_id == "choose_steps":
                    skips = chosen_by(dag, steps, ti, session)
                if ti.task_id == "approve" and rejecting:
                    skips = dag.get_task("approve").downstream_task_ids  # as Airflow's operator
                for skipped in skips:
                    run.get_task_instance(skipped, session=session).state = "skipped"
            session.flush()
        states = {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)}
        return {**states, "dag": str(run.state)}, order


def chosen_by(dag: DAG, steps: list[str], ti: TaskInstance, session: Session) -> list[str]:
    """The branch's own choice; what it keeps for later is kept."""

    class Instance:
        map_index = -1

        def xcom_push(self, key: str, value: object) -> None:
            place = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id}
            XComModel.set(key, value, **place, session=session)

    try:
        dag.get_task("choose_steps").execute({"params": {"steps": steps}, "ti": Instance()})
    except DownstreamTasksSkipped as skip:
        return skip.tasks
    return []


@pytest.mark.parametrize("steps", SUBSETS, ids="+".join)
def test_exactly_the_chosen_steps_run(dag, monkeypatch, steps: list[str]) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    states, order = schedule(dag, steps)
    chosen = [task for step in steps for task in TASKS[step]]
    skipped = [task for tasks in TASKS.values() for task in tasks if task not in chosen]
    around = ["check_inputs", "choose_steps", "summary"]
    assert states == dict.fromkeys([*chosen, *around, "dag"], "success") | dict.fromkeys(
        skipped, "skipped"
    )
    # Preparing data and tuning on old data touch nothing that is tested, promoted or deployed:
    # without train in between they run side by side, but each of both in its order.
    if "train" in steps:
        assert order == [*around[:2], *chosen, around[2]]
    for part in (["preprocess", "tune"], ["test", "promote", "deploy"]):
        tasks = [task for step in part if step in steps for task in TASKS[step]]
        places = [next(i for i, ready in enumerate(order) if t in ready.split()) for t in tasks]
        assert places == sorted(set(places))


REAL_RUNS = ["preprocess tune train test promote deploy", "preprocess train deploy", "train test"]
REAL_RUNS += ["preprocess tune", "test promote deploy", "deploy"]


@pytest.mark.parametrize("chosen", REAL_RUNS)
def test_each_task_is_given_what_was_made_or_else_the_form(dag, executed, chosen: str) -> None:
    steps = chosen.split()
    states = run(dag, steps)
    assert list(executed) == [task for step in steps for task in TASKS[step]]
    assert {task for task, state in states.items() if state == "success"} == {
        *("check_inputs", "choose_steps", "summary"),
        *executed,
    }
    for task, fields in executed.items():
        assert fields == expected_fields(task, steps)


def expected_fields(task: str, steps: list[str]) -> dict[str, Any]:
    """A step takes from another what that one made in this run, and else from the form."""
    version = "7" if "train" in steps else "3"
    return {
        "preprocess": {
            "query": "SELECT 1",
            "first": "2026-11-01",
            "last": "2026-11-20",
            "tag": "v1",
        },
        "publish_data": {"folder": "/scratch/v1/dataset", "tag": "v1"},
        "tune": {"tag": "v1", "count": "3"},
        "publish_params": {"params_file": "/scratch/v1/params.json", "tag": "v1"},
        "train": {
            "tag": "v1-params-1" if "tune" in steps else "v1",
            "run_name": "nightly",
            "model_name": "pump",
        },
        "test": {"query": "SELECT 2", "model_name": "pump", "model_version": version},
        "promote": {"model_name": "pump", "model_version": version},
        "deploy": {
            "model_name": "pump",
            "model_version": "champion" if "promote" in steps else version,
            "force": "no other",
        },
    }[task]


def test_no_step_is_no_run(dag) -> None:
    with pytest.raises(ValueError, match="should be non-empty"):
        dag.test(run_conf={"steps": []})


@pytest.mark.parametrize("failing", ["check_inputs", "publish_data", "train", "deploy"])
def test_a_failure_stops_what_depends_on_it(dag, monkeypatch, failing: str) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    states, started = schedule(dag, list(form.STEPS), failing)
    steps = [task for tasks in TASKS.values() for task in tasks]
    order = ["check_inputs", "choose_steps", *steps, "summary", "dag"]
    place = order.index(failing)
    assert started == order[: place + 1]
    expected = ["success"] * place + ["failed"] + ["upstream_failed"] * (10 - place) + ["failed"]
    assert [states[task] for task in order] == expected


@pytest.mark.parametrize("failing", [*form.STEPS, "publish_data", "publish_params"])
def test_a_failure_before_a_skipped_end_fails_the_run(dag, monkeypatch, failing: str) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    step = next(step for step, tasks in TASKS.items() if failing in tasks)
    states, _ = schedule(dag, [step], failing)
    assert states["dag"] == "failed"


@pytest.fixture(scope="module")
def with_contract(dag, tmp_path_factory) -> Callable[[str, str], DAG]:
    """The DAG as a line of the sensor contract makes it, when it stands in for another."""

    def with_contract(line: str, instead: str) -> DAG:
        from airflow.dag_processing.dagbag import DagBag

        text = (Settings.shipped_sensors / "plant.toml").read_text()
        assert line in text
        sensors = tmp_path_factory.mktemp("contract") / "sensors.toml"
        sensors.write_text(text.replace(line, instead))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BREEZEWAY_SENSORS", str(sensors))
            return DagBag(dag_folder=ROOT / "dags" / "training.py").dags["training"]

    return with_contract


@pytest.fixture(scope="module")
def approving(with_contract) -> DAG:
    return with_contract("approval = false", "approval = true")


@pytest.mark.parametrize("chosen", [*REAL_RUNS, "preprocess promote deploy"])
def test_a_person_is_asked_before_a_promotion_and_only_then(approving, monkeypatch, chosen) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    steps = chosen.split()
    states, order = schedule(approving, steps)
    assert states["dag"] == "success"
    assert states["approve"] == ("success" if "promote" in steps else "skipped")
    started = " ".join(order).split()
    assert {task for task in started if states[task] == "success"} == set(started)
    if "promote" in steps:
        before = started[: started.index("approve")]
        assert {"train", "test"} & set(steps) == {"train", "test"} & set(before)
        assert not {"promote", "deploy"} & set(before)


@pytest.mark.parametrize("steps", [list(form.STEPS), ["test", "promote", "deploy"], ["promote"]])
def test_a_rejection_skips_promotion_and_deployment_and_fails_nothing(
    approving, monkeypatch, steps
) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    states, _ = schedule(approving, steps, rejecting=True)
    assert {name for name, state in states.items() if state == "skipped"} >= {"promote", "deploy"}
    assert states["summary"] == states["dag"] == states["approve"] == "success"


def test_an_approval_that_fails_fails_the_run(approving, monkeypatch) -> None:
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    states, _ = schedule(approving, ["promote"], "approve")
    assert (states["promote"], states["dag"]) == ("upstream_failed", "failed")


def test_nobody_is_asked_where_the_contract_does_not_say_so(dag) -> None:
    assert "approve" not in dag.task_ids


def test_drift_starts_it_where_the_contract_says_so(dag, with_contract) -> None:
    assert type(dag.timetable).__name__ == "NullTimetable"
    schedule = with_contract("retrain = false", "retrain = true").timetable
    assert [asset.uri for asset in schedule.asset_condition.objects] == [
        "breezeway://retraining/plant"
    ]


def test_the_contract_may_name_times_and_nights(with_contract):
    times = with_contract("refit = false", 'schedule = "0 4 * * 1"').timetable
    assert type(times).__name__ == "CronTriggerTimetable"
    both = 'schedule = "0 4 * * 1"\nevery_days = 7'
    both = with_contract("refit = false", both).timetable
    assert type(both).__name__ == "AssetOrTimeSchedule"
    assert [asset.uri for asset in both.asset_condition.objects] == ["breezeway://retraining/plant"]


def test_a_run_of_its_time_makes_way_for_another(dag, monkeypatch) -> None:
    """Nothing else of the run is done then, and it does not fail."""

    def another_runs(context):
        raise AirflowSkipException("Another runs.")

    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    check = dag.get_task("check_inputs")
    monkeypatch.setitem(check.python_callable.__globals__, "skip_if_another_runs", another_runs)
    finished = dag.test()
    states = {ti.task_id: str(ti.state) for ti in finished.get_task_instances()}
    assert states.pop("summary") == "success"
    assert set(states.values()) == {"skipped"}
    assert str(finished.state) == "success"


@pytest.mark.parametrize(
    ("kind", "there", "skips"),
    [("scheduled", 1, False), ("scheduled", 2, True), ("manual", 2, False)],
)
def test_only_a_run_of_its_time_makes_way(kind: str, there: int, skips: bool) -> None:
    context = {
        "dag_run": SimpleNamespace(run_type=kind, dag_id="training"),
        "ti": SimpleNamespace(get_dr_count=lambda dag_id, states: there),
    }
    if not skips:
        assert skip_if_another_runs(context) is None
        return
    with pytest.raises(AirflowSkipException, match="1 other runs of the DAG training"):
        skip_if_another_runs(context)


BAD_FORMS = {
    "steps": [["fly"], ["train", "train"], [], "train"],
    "tag": ["a/b", "-v1", "v 1", "ü", "x" * 101],
    "count": [0, -1, 1001, "many", 1.5],
    "run_name": ["x" * 201, "two\nlines"],
    "model_name": ["", "a/b", "a:b", " pump"],
    "model_version": ["0", "1.5", "v 1", "-1"],
    "query": ["x" * 100_001],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, vs in BAD_FORMS.items() for v in vs])
def test_the_form_refuses_what_cannot_be(dag, field: str, value: object) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dag.params.get_param(field).resolve(value)


def test_a_refused_field_names_itself(dag) -> None:
    with pytest.raises(ValueError, match="tag"):
        dag.test(run_conf={"tag": "a/b"})


def test_each_field_has_its_help_from_the_docstring(dag) -> None:
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        shown, link, _ = schema["description_md"].partition(" [Preview](")
        assert shown in " ".join(dag.doc_md.split())
        assert len(shown) > 20
        assert bool(link) == name.endswith("query")
        assert schema["title"]


def test_a_run_without_a_filled_in_form_is_possible(dag) -> None:
    dag.params.validate()


def test_retries_come_from_the_error_tree(dag) -> None:
    for task in dag.tasks:
        assert task.retry_policy is not None
        assert task.retries == RETRIES["retries"]
        assert task.execution_timeout
