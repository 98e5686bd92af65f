"""What a run of the DAG `backtest` asks its step for."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.serialization.serialized_objects import DagSerialization

from breezeway.core.days import day_start
from breezeway.core.settings import Settings
from breezeway_airflow.step import Step
from tests.fixtures import ROOT


@pytest.fixture
def asked(airflow_database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each step that a run executes; the work itself is left out."""
    given: list[dict[str, Any]] = []

    def execute(self, context):
        given.append(self.arguments)
        return {}

    monkeypatch.setattr(Step, "execute", execute)
    yield given


@pytest.fixture(scope="module")
def dag(airflow_database):
    from airflow.dag_processing.dagbag import DagBag

    return DagBag().dags["backtest"]


def test_the_form_names_date_and_days(dag, asked) -> None:
    dag.test(run_conf={"date": "2026-03-02", "days": 3})
    assert asked == [{"date": "2026-03-02", "days": "3"}]


def test_a_date_whose_days_are_not_over_is_refused_at_once(dag, asked) -> None:
    """It used to wait for them."""
    run = dag.test(run_conf={"date": f"{datetime.now(UTC):%Y-%m-%d}", "days": 1})
    states = {ti.task_id: ti.state for ti in run.get_task_instances()}
    assert (states["check_inputs"], states["wait_for_history"]) == ("failed", "upstream_failed")
    assert asked == []


def test_its_mondays_are_those_of_the_contracts_zone(
    airflow_database, tmp_path, monkeypatch
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    zone, sensors = "Pacific/Auckland", tmp_path / "plant.toml"
    contract = (Settings.shipped_sensors / "plant.toml").read_text("utf-8")
    sensors.write_text(f'time_zone = "{zone}"\n{contract}')
    monkeypatch.setenv("BREEZEWAY_SENSORS", str(sensors))
    dag = DagBag(dag_folder=ROOT / "dags" / "backtest.py").dags["backtest"]
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    dates = pendulum.datetime(2026, 3, 30), pendulum.datetime(2026, 4, 13)
    runs = list(stored.iter_dagrun_infos_between(*dates))
    mondays = ["2026-03-30", "2026-04-06", "2026-04-13"]  # clocks are set on 5 April
    assert [run.partition_key for run in runs] == mondays
    starts = [day_start(date.fromisoformat(day), ZoneInfo(zone)) for day in mondays]
    assert [run.partition_date for run in runs] == starts


def test_a_run_without_a_date_takes_the_days_that_end_today(dag, asked, monkeypatch) -> None:
    monkeypatch.setattr(DateTimeSensor, "poke", lambda self, context: True)
    before = datetime.now(UTC).date()
    dag.test(run_conf={"date": None, "days": 2})
    today = {before, datetime.now(UTC).date()}
    assert date.fromisoformat(asked[0]["date"]) in {day - timedelta(days=2) for day in today}


@pytest.mark.parametrize("value", ["yesterday", "2026-3-2", 20260302])
def test_the_form_refuses_what_is_no_date(dag, value) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dag.params.get_param("date").resolve(value)
