"""The DAG that brings labels in: its step runs, and what it was sent lies in the raw store."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from breezeway.core.settings import Settings
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore
from tests.fixtures import airflow
from tests.fixtures.webhook import receiving

LABEL = {"device": "machine-01", "start": "2026-04-20T10:00:00Z", "end": "2026-04-20T10:20:00Z"}


@pytest.fixture(scope="module")
def dag(airflow_database: None) -> Iterator[DAG]:
    with airflow.stored_dags() as dags:
        yield dags["import_labels"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelStore:
    """The labels of the step, in a raw store that knows one device."""
    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path))
    address = Settings.from_environment().raw_address
    store = RawStore(address)
    store.create()
    reading = {"device": "machine-01", "time": datetime(2026, 4, 20, tzinfo=UTC), "payload": "{}"}
    store.append(pa.Table.from_pylist([reading]))
    return LabelStore(address)


def states(dag: DAG, *labels: dict[str, str]) -> dict[str, str]:
    finished = dag.test(run_conf={"labels": list(labels)})
    return {ti.task_id: str(ti.state) for ti in finished.get_task_instances()}


def test_what_is_sent_twice_is_kept_once_with_who_sent_it(dag: DAG, store: LabelStore) -> None:
    for _ in range(2):
        assert states(dag, LABEL | {"label": "fault"}) == {"labels": "success"}
    (kept,) = store.labels().to_pylist()
    assert kept["device"] == "machine-01"
    assert kept["labelled_by"] == "dag_test", "who triggers such a run, says Airflow"


def test_a_device_that_nobody_knows_is_refused_and_people_are_told(
    dag: DAG, store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = LABEL | {"device": "machine-99", "label": "fault"}
    with receiving() as receiver:
        monkeypatch.setenv("BREEZEWAY_NOTIFIERS", json.dumps([{"url": receiver.url}]))
        assert states(dag, unknown) == {"labels": "failed"}
    assert store.labels().num_rows == 0
    (told,) = receiver.posted
    assert told["title"] == "import_labels: the task labels has failed"
    assert "machine-99" in told["why"]
    assert told["owner"] == "breezeway"


@pytest.mark.parametrize(
    "change", [{"label": "perhaps"}, {"start": "noon"}, {"device": ""}, {"by": "me"}]
)
def test_the_form_refuses_what_is_no_label(dag: DAG, change: dict[str, str]) -> None:
    with pytest.raises(ParamValidationError):
        dag.params.get_param("labels").resolve([LABEL | {"label": "fault"} | change])
