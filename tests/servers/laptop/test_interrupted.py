"""What a stop of the platform does to runs, by Airflow's own API and scheduler."""

from collections.abc import Iterator
from datetime import timedelta
from secrets import token_hex

import pytest
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun
from airflow.sdk import timezone
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from fastapi.testclient import TestClient
from sqlalchemy import select

from breezeway.laptop import interrupted
from tests.fixtures import airflow


@pytest.fixture
def client(airflow_database: None) -> Iterator[TestClient]:
    """Of Airflow's API server, logged in."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY"):
            patch.setenv(name, token_hex(64))
        from airflow.api_fastapi import app

        app.purge_cached_app()
        with TestClient(app.create_app("core")) as client:
            user = SimpleAuthManagerUser(username="ann", role="ADMIN")
            token = app.get_auth_manager().generate_jwt(user)
            client.headers["Authorization"] = f"Bearer {token}"
            yield client
        app.purge_cached_app()


def test_a_run_that_the_platform_was_off_in_has_not_taken_too_long(client: TestClient) -> None:
    """A night was interrupted, and the platform starts again a week later."""
    with airflow.stored_dags("nightly_drift.py") as dags:
        night = dags["nightly_drift"]
        stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(night))
        began = timezone.utcnow() - timedelta(days=7)
        with create_session() as session:
            run = stored.create_dagrun(
                run_id="manual__a-week-ago",
                run_after=began,
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.RUNNING,
                session=session,
            )
            run.start_date = began
            run.get_task_instance("check_inputs", session=session).state = "running"

        said = interrupted.take_up(client)
        assert said == [
            "nightly_drift/manual__a-week-ago/check_inputs was interrupted and starts again."
        ]
        with create_session() as session:
            scheduler = SchedulerJobRunner(Job())
            scheduler._start_queued_dagruns(session)
            run = session.scalar(select(DagRun).where(DagRun.run_id == "manual__a-week-ago"))
            assert run.state == DagRunState.RUNNING
            scheduler._schedule_dag_run(run, session)
            assert run.state == DagRunState.RUNNING, "the limit of a run counts from its start"
            task = run.get_task_instance("check_inputs", session=session)
            assert task.state == "scheduled", "and it goes on"
            session.delete(run)
