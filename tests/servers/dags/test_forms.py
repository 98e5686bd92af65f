"""Whatever a DAG's form takes, the command lines of its steps take."""

import calendar
import importlib
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Param, macros
from airflow.sdk.exceptions import ParamValidationError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from breezeway.core.arguments import ArgumentParser
from breezeway.core.errors import UsageError
from breezeway_airflow import form
from breezeway_airflow.command import step_options
from breezeway_airflow.step import Step
from tests.fixtures import ROOT

RESULTS = defaultdict(lambda: defaultdict(lambda: "1"))
"""What other tasks of a run have made: a number, wherever a task asks for something of theirs."""

NIGHT = datetime(2026, 11, 21, tzinfo=UTC)
FILLED = {
    "training": {
        "tag": "v1",
        "run_name": "v1",
        "model_version": "1",
        "query": "SELECT 1",
        "first_day": "2026-11-01",
        "last_day": "2026-11-20",
        "test_query": "SELECT 1",
        "force": "no other",
    },
    "canary": {"model_version": "2", "force": "no other"},
    "rollback": {"model_version": "1", "reason": "alarms"},
    "nightly_drift": {"date": "2026-11-20"},
    "backtest": {"date": "2026-11-20", "days": 7},
    "history": {"day": "2026-11-20"},
    "score": {
        "first_day": "2026-11-01",
        "last_day": "2026-11-20",
        "query": "SELECT 1",
        "model_version": "1",
    },
    "housekeeping": {},
    "import_labels": {
        "labels": [{"device": "m-1", "start": "2026-11-20", "end": "2026-11-21", "label": "fault"}]
    },
}
"""DAG → what the check of its form puts into the fields that are empty by default."""


def label(start: str) -> dict[str, str]:
    return {"device": "m-1", "start": start, "end": "2026-11-21", "label": "fault"}


DATES = st.one_of(
    st.dates().map(str),
    st.from_regex(r"[0-9]{4}-?[0-9W]{2,3}-?[0-9]{1,2}", fullmatch=True),
)
NUMBERS = st.one_of(st.integers(-2, 2000), st.floats(-2, 2000), st.integers(0, 99).map(float))
TEXTS = st.one_of(
    st.text(max_size=130),
    st.text("abz019._-/ ", max_size=130),
    st.from_regex(r"[A-Za-z0-9._-]{50,120}", fullmatch=True),
)
LABELS = st.lists(
    st.fixed_dictionaries(
        {
            "device": TEXTS,
            "start": st.one_of(DATES, st.datetimes().map(str)),
            "end": st.one_of(DATES, st.datetimes().map(datetime.isoformat)),
            "label": st.sampled_from(["fault", "normal", "", "Fault"]),
        }
    ),
    max_size=2,
)
VALUES = st.one_of(st.none(), st.booleans(), DATES, NUMBERS, TEXTS, LABELS)


def load(dag_id: str) -> DAG:
    spec = importlib.util.spec_from_file_location(dag_id, ROOT / "dags" / f"{dag_id}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dag


DAGS = {dag_id: load(dag_id) for dag_id in FILLED}
FIELDS = [(dag_id, field) for dag_id, dag in DAGS.items() for field in dag.params]


def taken(param: Param, value: Any) -> bool:
    try:
        param.resolve(value)
    except ParamValidationError:
        return False
    return True


def step_lines(dag: DAG, params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Task → the words of its step's command line.

    Raises:
        UsageError: the check of the form refuses a field.
    """
    given = {field: value for field, value in form.read(params).items() if value != ""}
    checked = RESULTS["any"] | FILLED[dag.dag_id] | given
    # The check of the form lets a run have a query or days.
    checked |= {"first_day": "", "last_day": ""} if "query" in given else {"query": ""}
    results = RESULTS | {"check_inputs": checked}
    context = {
        "params": params,
        "macros": macros,
        "ti": SimpleNamespace(xcom_pull=lambda task: results[task]),
        "dag_run": SimpleNamespace(partition_key=None, run_after=NIGHT, triggering_user_name="ann"),
    }
    return {
        task.task_id: step_options(task.render_template(task.arguments, context))
        for task in dag.tasks
        if isinstance(task, Step)
    }


@cache
def parser_of(step: str) -> ArgumentParser:
    parser = ArgumentParser()
    importlib.import_module(f"breezeway.steps.{step}").add_arguments(parser)
    return parser


def test_every_dag_is_filled_in() -> None:
    assert set(FILLED) == {path.stem for path in (ROOT / "dags").glob("*.py")}


@pytest.mark.parametrize(("dag_id", "field"), FIELDS)
def test_what_a_form_takes_its_steps_take(dag_id: str, field: str) -> None:
    dag = DAGS[dag_id]
    defaults = {name: dag.params.get_param(name).value for name in dag.params}

    @settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(VALUES)
    @example(3.0)
    @example("2026-02-30")
    @example("20260131")
    @example("x" * 80)
    @example("plant.v2")
    def steps_take(value: Any) -> None:
        if not taken(dag.params.get_param(field), value):
            return
        try:
            query = {"query": None} if field.endswith("_day") else {}
            lines = step_lines(dag, defaults | FILLED[dag_id] | query | {field: value})
        except UsageError as error:
            assert f"field '{field}'" in str(error)  # from the first task, within seconds
            return
        for task, words in lines.items():
            parser_of(dag.get_task(task).step).parse_args(words)

    steps_take()


DAYS = [("nightly_drift", "date"), ("backtest", "date"), ("history", "day"), ("score", "first_day")]
NO_DAYS = ("2026-13-45", "2025-02-29", "2026-04-31", "2100-02-29", "0001-01-01", "9999-12-31", "")


@pytest.mark.parametrize(("dag_id", "field"), DAYS)
@pytest.mark.parametrize("day", ["1900-01-01", "2000-02-29", "2024-02-29", "2026-12-31"])
def test_a_day_of_the_calendar_is_taken(dag_id: str, field: str, day: str) -> None:
    assert taken(DAGS[dag_id].params.get_param(field), day)


def test_the_schema_alone_knows_the_calendar() -> None:
    """Not every reader of a JSON schema checks the format `date`."""
    pattern = re.compile(DAGS["backtest"].params.get_param("date").schema["pattern"])
    first = date(1899, 1, 1).toordinal()
    for ordinal in range(first, date(2101, 12, 31).toordinal()):
        day = date.fromordinal(ordinal)
        assert bool(pattern.fullmatch(f"{day}")) == (day.year >= 1900)
    for year in (1900, 2000, 2023, 2024, 2100, 2400):
        for month in range(14):
            last = calendar.monthrange(year, month)[1] if 1 <= month <= 12 else 0
            for number in (0, last + 1, 32):
                assert not pattern.fullmatch(f"{year}-{month:02}-{number:02}")


def test_the_defaults_are_taken() -> None:
    for dag_id, dag in DAGS.items():
        for field in dag.params:
            value = FILLED[dag_id].get(field, dag.params.get_param(field).value)
            assert taken(dag.params.get_param(field), value), (dag_id, field)


@pytest.mark.parametrize(
    ("dag_id", "field", "value"),
    [
        ("training", "count", 0),
        ("training", "count", 2.5),
        ("training", "steps", []),
        ("canary", "minutes", 0),
        ("canary", "percent", 100),
        ("canary", "mode", "both"),
        ("rollback", "model_version", "champion"),
        ("nightly_drift", "date", "2026-02-30"),
        *((*field, value) for field in DAYS for value in NO_DAYS),
        ("backtest", "days", 367),
        ("history", "day", "20260131"),
        ("import_labels", "labels", []),
        *(("import_labels", "labels", [label(day)]) for day in ("2026-02-30", "2026-13-45")),
        ("import_labels", "labels", [{"device": "a", "start": "noon", "end": "1", "label": "?"}]),
    ],
)
def test_is_refused_at_once(dag_id: str, field: str, value: Any) -> None:
    assert not taken(DAGS[dag_id].params.get_param(field), value)
