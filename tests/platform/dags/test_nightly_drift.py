"""The nightly drift DAG: which day it checks, and that drift becomes an event of its asset."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pendulum
import pytest
from airflow.models import dagrun
from airflow.models.asset import AssetEvent
from airflow.sdk import DAG, timezone
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType
from sqlalchemy import select

from breezeway.core.settings import Settings
from breezeway.tracking import champions, rest
from breezeway_airflow.step import Step
from tests.fixtures import airflow

MODEL = f"pump-{uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def dag(airflow_database, mlflow_server: str, tmp_path_factory) -> Iterator[DAG]:
    """The DAG of a model that no other test knows; a drift of two days starts a retraining."""
    contract = (Settings.shipped_sensors / "plant.toml").read_text()
    sensors = tmp_path_factory.mktemp("contract") / "sensors.toml"
    for line, instead in {
        'name = "plant"': f'name = "{MODEL}"',
        "holdout = 0.2 ": 'holdout = "1d" ',
        "retrain = false": "retrain = true",
        "learn_days = 3": "learn_days = 1",
    }.items():
        assert line in contract
        contract = contract.replace(line, instead)
    sensors.write_text(contract)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZEWAY_SENSORS", str(sensors))
        patch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
        with airflow.stored_dags("nightly_drift.py") as dags:
            yield dags["nightly_drift"]


@pytest.fixture
def night(dag, monkeypatch) -> Callable[..., dict[str, str]]:
    """Run the DAG with the step left out, whose verdict is given: the tasks' states, and the
    day that the step was given."""

    def night(day: str | None, verdict: str, **run: Any) -> dict[str, str]:
        given: dict[str, str] = {}

        def execute(self, context):
            given.update(self.arguments)
            return {
                **given,
                "model_version": "1",
                "verdict": verdict,
                "reason": "temperature +6 °C",
                "drifted": [{"column": "temperature", "device": None, "change": "+6 °C"}],
            }

        monkeypatch.setattr(Step, "execute", execute)
        finished = dag.test(run_conf={"date": day}, **run)
        states = {ti.task_id: str(ti.state) for ti in finished.get_task_instances()}
        return {**states, "dag": str(finished.state), "day": given.get("date", "")}

    return night


def events(after: datetime, of: str = "drift") -> list[dict[str, Any]]:
    """What the events of an asset of the model carry."""
    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.timestamp > after)).all()
        uris = {f"breezeway://{what}/{MODEL}" for what in ("drift", "retraining")}
        assert {event.asset.uri for event in found} <= uris
        return [event.extra for event in found if event.asset.uri == f"breezeway://{of}/{MODEL}"]


FIRST, SECOND = (f"{datetime.now(UTC).date() - timedelta(days=ago)}" for ago in (3, 2))


def test_a_night_without_a_champion_that_is_asked_for_is_not_taken_for_done(night) -> None:
    """So a backfill of what failed checks it later."""
    states = night(FIRST, "drifted")
    assert (states["check_inputs"], states["drift"]) == ("failed", "upstream_failed")
    assert (states["dag"], states["day"]) == ("failed", "")


def test_the_schedule_skips_nights_until_there_is_a_champion(night, monkeypatch) -> None:
    make_run = dagrun.get_or_create_dagrun

    def scheduled(**arguments: Any) -> dagrun.DagRun:
        run = make_run(**arguments)
        run.run_type = DagRunType.SCHEDULED
        arguments["session"].commit()
        return run

    monkeypatch.setattr(dagrun, "get_or_create_dagrun", scheduled)
    states = night(FIRST, "drifted")
    assert (states.pop("dag"), states.pop("day")) == ("success", "")
    assert states == dict.fromkeys(("check_inputs", "drift", "announce", "retrain"), "skipped")


@pytest.fixture(scope="module")
def champion(dag) -> None:
    settings = Settings.from_environment()
    rest.post(settings, "registered-models/create", name=MODEL)
    run = rest.post(settings, "runs/create", experiment_id="0")["run"]["info"]
    source = {"run_id": run["run_id"], "source": f"{run['artifact_uri']}/model"}
    rest.post(settings, "model-versions/create", name=MODEL, **source)
    champions.promote(settings, MODEL, "1", None, "first")


def test_without_drift_there_is_no_event(night, champion) -> None:
    began = timezone.utcnow()
    states = night(None, "suspected", logical_date=pendulum.datetime(2026, 6, 4, 15))
    assert (states["announce"], states["dag"]) == ("skipped", "success")
    assert states["day"] == "2026-06-03"
    assert events(began) == []


def test_drift_makes_an_event_on_its_first_night_and_starts_a_retraining_later(
    night, champion
) -> None:
    began = timezone.utcnow()
    for day, announce, retrain in (
        (FIRST, "success", "skipped"),
        (SECOND, "skipped", "success"),
    ):
        states = night(day, "drifted")
        assert (states["announce"], states["retrain"]) == (announce, retrain)
        assert (states["day"], states["dag"]) == (day, "success")
    (event,) = events(began)
    assert event["date"] == FIRST
    assert event["drifted"][0]["column"] == "temperature"
    (event,) = events(began, of="retraining")
    assert event["date"] == SECOND


def test_long_ago_is_announced_only_when_asked(night, champion) -> None:
    began = timezone.utcnow()
    assert night("2026-01-03", "drifted")["announce"] == "skipped"
    assert events(began) == []


def test_a_backfill_checks_each_day_of_its_range(dag) -> None:
    """The interval of a run is the day that it checks: see `form.check_drift`."""
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    first, last = pendulum.datetime(2026, 6, 3), pendulum.datetime(2026, 6, 5)
    days = [info.data_interval for info in stored.iter_dagrun_infos_between(first, last)]
    assert [day.start for day in days] == [first, first.add(days=1), last]
    assert [day.end for day in days] == [day.start.add(days=1) for day in days]


def test_a_day_that_is_not_over_is_refused(night, champion) -> None:
    states = night(f"{datetime.now(UTC):%Y-%m-%d}", "quiet")
    assert (states["check_inputs"], states["drift"]) == ("failed", "upstream_failed")


def test_the_form_and_the_retries(dag) -> None:
    for field in dag.params:
        schema = dag.params.get_param(field).schema
        assert schema["description_md"] in " ".join(dag.doc_md.split())
    for task in dag.tasks:
        assert task.retry_policy is not None
        waits = [task.retry_delay * task.retry_exponential_backoff**n for n in range(task.retries)]
        assert sum(waits, timedelta()) >= timedelta(minutes=30)  # a store may take so long
        assert task.execution_timeout
    assert not dag.catchup  # `Nights` makes up what was missed
    assert dag.max_active_runs == 1
