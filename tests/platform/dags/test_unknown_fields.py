"""No DAG does anything when its run has a field that the form does not have."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from breezeway.core.errors import UsageError
from breezeway_airflow import fields
from tests.fixtures import ROOT, airflow

NAMES = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))


@pytest.fixture(scope="module")
def dags(airflow_database: None) -> Iterator[dict[str, DAG]]:
    with airflow.stored_dags() as dags:
        yield dags


def test_each_file_is_a_dag(dags: dict[str, DAG]) -> None:
    assert sorted(dags) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_run_with_an_unknown_field_fails_at_its_first_task(
    dags: dict[str, DAG], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", "http://127.0.0.1:9")
    label = {"device": "m", "start": "2026-04-20", "end": "2026-04-21", "label": "fault"}
    known = {"labels": [label], "model_name": "plant", "model_version": "1", "reason": "a test"}
    given = {key: value for key, value in known.items() if key in dags[name].params}
    run = dags[name].test(run_conf={**given, "qurey": "SELECT 1"})
    tasks = run.get_task_instances()
    assert run.state == "failed"
    assert {task.state for task in tasks} <= {"failed", "upstream_failed"}
    assert {task.try_number for task in tasks if task.state == "failed"} == {1}
    assert not (tmp_path / "home").exists()


def test_the_sentence_names_the_field_that_was_meant(dags: dict[str, DAG]) -> None:
    def refusal(**conf: object) -> str:
        context = {"dag": dags["training"], "dag_run": SimpleNamespace(conf=conf)}
        with pytest.raises(UsageError) as raised:
            fields.refuse_unknown(context)
        return str(raised.value)

    assert refusal(qurey="SELECT 1").endswith("has 'qurey': did you mean 'query'?")
    assert "has 'nope': the fields are ['steps', 'query'," in refusal(nope=1)
