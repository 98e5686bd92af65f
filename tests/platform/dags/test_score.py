"""What a run of the DAG `score` asks its step for."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from breezeway.pipeline import in_service
from breezeway.pipeline.in_service import Judge
from breezeway.tracking import registry
from breezeway_airflow.step import Step
from tests.fixtures import ROOT

SERVING = Judge("3", True, "Version 3 is in service.")


@pytest.fixture
def asked(airflow_database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each step that a run executes; the work itself is left out."""
    given: list[dict[str, Any]] = []

    def execute(self, context):
        given.append(self.arguments)
        return {}

    monkeypatch.setattr(Step, "execute", execute)
    monkeypatch.setattr(in_service, "find_serving", lambda *_: SERVING)
    monkeypatch.setattr(registry, "resolve_version", lambda _settings, _name, version: version)
    yield given


@pytest.fixture
def dag(airflow_database):
    """A new one each time: a test run leaves its form in the DAG."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=ROOT / "dags" / "score.py").dags["score"]


def arguments(**changed: str) -> dict[str, str]:
    common = {"first": "", "last": "", "query": "", "model_name": "plant"}
    return {**common, "model_version": "3", "table": "no", **changed}


def test_the_form_names_days_version_and_table(dag, asked) -> None:
    form = {"first_day": "2026-03-02", "last_day": "2026-03-04", "model_version": "1"}
    dag.test(run_conf={**form, "table": True})
    days = {"first": "2026-03-02", "last": "2026-03-04"}
    assert asked == [arguments(**days, model_version="1", table="yes")]


def test_a_query_stands_in_place_of_days(dag, asked) -> None:
    query = "SELECT device, time, payload FROM readings"
    dag.test(run_conf={"query": query})
    assert asked == [arguments(query=query)]


def test_without_days_it_is_yesterday_by_the_version_in_service(dag, asked) -> None:
    before = datetime.now(UTC).date()
    dag.test(run_conf={})
    today = {before, datetime.now(UTC).date()}
    assert asked[0]["first"] == asked[0]["last"]
    assert date.fromisoformat(asked[0]["first"]) in {day - timedelta(days=1) for day in today}
    assert asked[0]["model_version"] == "3"


def test_a_run_of_a_backfill_scores_its_day(dag, asked) -> None:
    dag.test(logical_date=datetime(2026, 3, 2, tzinfo=UTC))
    assert asked == [arguments(first="2026-03-02", last="2026-03-02")]


@pytest.mark.parametrize(
    "form",
    [
        {"query": "SELECT 1", "first_day": "2026-03-02"},
        {"query": "DROP TABLE readings"},
        {"last_day": "2026-03-02"},
        {"first_day": "2026-03-02", "last_day": "2026-03-01"},
        {"first_day": "2026-03-02", "last_day": "2999-12-31"},
    ],
)
def test_what_makes_no_sense_is_refused_at_once(dag, asked, form) -> None:
    run = dag.test(run_conf=form)
    assert run.get_task_instance("check_inputs").state == "failed"
    assert asked == []
