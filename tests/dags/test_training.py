"""The training DAG: what each choice of steps runs and skips, by Airflow's own scheduling."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from airflow.sdk import DAG

from breezeway.errors import UsageError
from breezeway_airflow import form
from breezeway_airflow.dvc import PublishDataset, PublishParameters
from breezeway_airflow.registry import PromoteModel
from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step

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
    "test_query": "SELECT 2",
    "tag": "v1",
    "count": 3,
    "run_name": "nightly",
    "model_name": "pump",
    "model_version": "3",
}
RESULTS = {
    "preprocess": {"folder": "/scratch/v1/dataset"},
    "publish_data": {"tag": "v1"},
    "tune": {"params_file": "/scratch/v1/params.json"},
    "publish_params": {"tag": "v1-params-1"},
    "train": {"model_version": "7"},
    "test": {"model_version": "7"},
    "promote": {"model_version": "7", "promoted": True},
    "deploy": {"deployment": "pump-7"},
}


@pytest.fixture(scope="module")
def dag(airflow_database) -> Iterator[DAG]:
    """The DAG, stored as the scheduler would find it, once and not again with every run."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag()
    assert not bag.import_errors
    sync_bag_to_db(bag, "dags-folder", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DagBundlesManager, "get_all_dag_bundles", lambda self: [])
        yield bag.dags["training"]


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


@pytest.mark.parametrize("steps", SUBSETS, ids="+".join)
def test_exactly_the_chosen_steps_run(dag, executed, steps: list[str]) -> None:
    states = run(dag, steps)
    expected = {"check_inputs": "success", "choose_steps": "success"}
    for step, tasks in TASKS.items():
        expected |= dict.fromkeys(tasks, "success" if step in steps else "skipped")
    assert states == expected
    assert set(executed) == {t for step in steps for t in TASKS[step]}
    for task, fields in executed.items():
        assert fields == expected_fields(task, steps)


def expected_fields(task: str, steps: list[str]) -> dict[str, Any]:
    """A step takes from another what that one made in this run, and else from the form."""
    version = "7" if "train" in steps else "3"
    return {
        "preprocess": {"query": "SELECT 1", "tag": "v1"},
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
        },
    }[task]


def test_no_step_is_no_run(dag) -> None:
    with pytest.raises(ValueError, match="should be non-empty"):
        dag.test(run_conf={"steps": []})


@pytest.mark.parametrize("failing", ["check_inputs", "publish_data", "train"])
def test_a_failure_stops_what_depends_on_it(dag, executed, monkeypatch, failing) -> None:
    fine = Step.execute

    def fail(self, context):
        if self.task_id == failing:
            raise UsageError("It is wrong.")
        return fine(self, context)

    for operator in (Step, PublishDataset):
        monkeypatch.setattr(operator, "execute", fail)
    if failing == "check_inputs":
        monkeypatch.setattr(form, "check", lambda *arguments: fail(dag.get_task(failing), {}))
    states = run(dag, list(form.STEPS))
    order = ["check_inputs", "choose_steps", *(t for tasks in TASKS.values() for t in tasks)]
    place = order.index(failing)
    assert [states[task] for task in order] == (
        ["success"] * place + ["failed"] + ["upstream_failed"] * (len(order) - place - 1)
    )


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
        assert schema["description_md"] in " ".join(dag.doc_md.split())
        assert len(schema["description_md"]) > 20
        assert schema["title"]


def test_a_run_without_a_filled_in_form_is_possible(dag) -> None:
    dag.params.validate()


def test_retries_come_from_the_error_tree(dag) -> None:
    for task in dag.tasks:
        assert task.retry_policy is not None
        assert task.retries == RETRIES["retries"]
        assert task.execution_timeout
