"""The button "Report", as Airflow's task runner asks for it."""

from collections.abc import Iterator

import pytest
from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.utils.session import create_session

from breezeway_airflow.step import Step
from tests.fixtures import airflow


@pytest.fixture(scope="module")
def dag(airflow_database: None) -> Iterator[DAG]:
    with airflow.stored_dags("import_labels.py") as dags:
        yield dags["import_labels"]


@pytest.mark.parametrize(
    ("result", "address"),
    [
        ({"run_id": "4f2a"}, "/plugin/reports/breezeway/reports/4f2a/"),
        ({"rows": 3}, ""),
    ],
)
def test_a_step_with_a_run_in_mlflow_links_to_its_reports(
    dag: DAG, monkeypatch: pytest.MonkeyPatch, result: dict[str, object], address: str
) -> None:
    monkeypatch.setattr(Step, "execute", lambda self, context: result)
    label = {"device": "m-1", "start": "2026-11-20", "end": "2026-11-21", "label": "fault"}
    run = dag.test(run_conf={"labels": [label]})
    with create_session() as session:
        links = (
            session.query(XComModel.value)
            .filter_by(dag_id=dag.dag_id, run_id=run.run_id, task_id="labels")
            .filter(XComModel.key.like("_link%"))
        )
        assert [link.value for link in links] == [address]
