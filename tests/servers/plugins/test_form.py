"""The check of the form: what a chosen step needs and cannot get is named at once."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.tracking import champions, registry, rest
from breezeway.tracking.gate import Evidence
from breezeway_airflow import form

MOMENT = datetime(2026, 11, 21, 12, 7, 40, 123456, tzinfo=UTC)
QUERY = "SELECT device, time, payload FROM readings"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the dataset v1 with parameters."""
    home = tmp_path_factory.mktemp("form") / "home"
    source = home / "source"
    source.mkdir(parents=True)
    (source / "manifest.json").write_text(json.dumps({"query": QUERY}))
    (home / "params.json").write_text("{}")
    versions.publish(Settings(home=home), source, "v1")
    versions.publish_params(Settings(home=home), home, "v1")
    return home


@pytest.fixture
def settings(home: Path, mlflow_server: str) -> Settings:
    return Settings(home=home, mlflow_url=mlflow_server)


@pytest.fixture(scope="module")
def model(home: Path, mlflow_server: str) -> str:
    """Four versions: the first is champion, the second was tested, the third is new, the fourth was
    refused."""
    settings = Settings(home=home, mlflow_url=mlflow_server)
    name = f"pump-{uuid4().hex}"
    rest.post(settings, "registered-models/create", name=name)
    run = rest.post(settings, "runs/create", experiment_id="0")["run"]["info"]
    source = {"run_id": run["run_id"], "source": f"{run['artifact_uri']}/model"}
    for _ in range(4):
        rest.post(settings, "model-versions/create", name=name, **source)
    champions.promote(settings, name, "1", None, "the first")
    evidence = Evidence(labelled=False, champion="1")
    registry.tag_version(settings, name, "2", evidence=evidence.to_json())
    champions.refuse(settings, name, "4", "It is worse at night.")
    return name


@pytest.fixture
def check(settings: Settings, model: str) -> Callable[..., dict[str, Any]]:
    def check(*steps: str, **fields: Any) -> dict[str, Any]:
        empty = {"query": QUERY, "test_query": None, "tag": None, "count": 12, "run_name": None}
        empty |= {"model_name": model, "model_version": None, "steps": list(steps), "force": None}
        empty |= {"first_day": None, "last_day": None}
        return form.check(empty | fields, MOMENT, settings)

    return check


def test_nothing_filled_in_is_a_whole_run(check, model) -> None:
    assert check(*form.STEPS) == {
        "query": QUERY,
        "first_day": "",
        "last_day": "",
        "test_query": QUERY,
        "tag": "v20261121-120740-123",
        "count": 12,
        "run_name": "v20261121-120740-123",
        "model_name": model,
        "model_version": "",
        "force": "",
    }


@pytest.mark.parametrize(
    ("steps", "fields", "expected"),
    [
        ("preprocess", {"tag": "v1"}, {"tag": "v1"}),
        ("preprocess", {"tag": " v2 ", "query": f"{QUERY};"}, {"tag": "v2", "query": QUERY}),
        ("preprocess", {"first_day": "2026-11-01"}, {"query": "", "last_day": "2026-11-20"}),
        ("preprocess test", {"first_day": "2026-11-01"}, {"test_query": ""}),
        ("tune train", {"tag": "v1-params-1"}, {"tag": "v1"}),
        ("train", {"tag": "v1-params-1", "run_name": "x"}, {"tag": "v1-params-1", "run_name": "x"}),
        ("train test", {"tag": "v1", "test_query": "SELECT 2"}, {"test_query": "SELECT 2"}),
        ("test", {}, {"model_version": "4"}),
        ("test", {"model_version": "2"}, {"model_version": "2"}),
        ("test promote deploy", {}, {"model_version": "4"}),
        ("promote", {"model_version": "2"}, {"model_version": "2"}),
        ("deploy", {}, {"model_version": "1"}),
        ("test deploy", {}, {"model_version": "1"}),
        ("deploy", {"model_version": "champion"}, {"model_version": "1"}),
        ("deploy", {"query": "DROP TABLE readings", "tag": "none"}, {"model_version": "1"}),
        ("deploy", {"model_version": "3"}, {"model_version": "3"}),
        ("deploy", {"model_version": "4", "force": " no other "}, {"force": "no other"}),
    ],
)
def test_what_is_open_is_completed(check, steps, fields, expected) -> None:
    checked = check(*steps.split(), **fields)
    assert {name: checked[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("steps", "fields", "sentence"),
    [
        ("preprocess", {"query": "DELETE FROM readings"}, "'query'.*expected one SELECT"),
        ("preprocess", {"query": "SELECT 1; SELECT 2"}, "'query'.*2 statements"),
        ("preprocess", {"query": ""}, "Fill in the field 'query'"),
        ("deploy", {"model_version": "4"}, "'force'.*refused version 4 .*: It is worse at night"),
        ("preprocess", {"last_day": "2026-11-20"}, "Fill in the field 'first_day'.*no window"),
        ("preprocess", {"last_day": "2026-11-21"}, "'last_day'.*not over yet"),
        ("preprocess", {"first_day": "2026-13-45"}, "'first_day'.*2026-13-45.*is not a day"),
        ("preprocess", {"first_day": "2026-11-20", "last_day": "2026-11-19"}, "is after the last"),
        ("preprocess", {"first_day": "2026-11-20", "query": "SELECT 1"}, "Empty the field 'query'"),
        ("preprocess", {"tag": "a..b"}, "'tag'.*without '..'"),
        ("preprocess", {"tag": "v1.lock"}, "'tag'.*not ending"),
        ("preprocess", {"tag": "v2-params-1"}, "'tag'.*tuned parameters"),
        ("preprocess", {"tag": "v1", "query": "SELECT 1"}, "'tag'.*exists.*another query"),
        ("train", {}, "Fill in the field 'tag'.*train without preprocess"),
        ("tune train", {}, "Fill in the field 'tag'.*tune and train without preprocess"),
        ("tune", {"tag": "v9"}, "Correct the field 'tag'.*v9.*add preprocess"),
        ("test", {"test_query": "DROP TABLE x"}, "'test_query'.*expected one SELECT"),
        ("test", {"model_name": "nobody"}, "'model_name'.*nobody.*add train"),
        ("test", {"model_version": "99"}, "'model_version'.*99"),
        ("deploy", {"model_version": "best"}, "'model_version'.*best.*champion"),
        ("promote", {}, "'model_version'.*4.*not been tested"),
        ("promote", {"model_version": "1"}, "'model_version'.*1.*not been tested"),
        ("train promote", {"tag": "v1"}, "'steps'.*Add test"),
        ("train", {"tag": "v1", "model_version": "3"}, "Empty the field 'model_version'"),
    ],
)
def test_what_is_missing_is_named(check, steps, fields, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        check(*steps.split(), **fields)


@pytest.mark.parametrize(
    ("fields", "days"),
    [
        ({}, ("2026-08-23", "2026-11-20")),
        ({"last_day": "2026-10-31"}, ("2026-08-03", "2026-10-31")),
        ({"first_day": "2026-11-10"}, ("2026-11-10", "2026-11-20")),
    ],
)
def test_a_window_of_the_contract_is_the_newest_whole_days(
    settings, tmp_path, fields, days
) -> None:
    text = settings.sensors.read_text().replace("refit = false", 'window = "90d"')
    sensors = tmp_path / "sensors.toml"
    sensors.write_text(text)
    with_window = settings.model_copy(update={"sensors": sensors})
    empty = {"query": None, "test_query": None, "tag": None, "first_day": None, "last_day": None}
    empty |= {"run_name": None, "model_name": "plant", "model_version": None}
    steps = ["preprocess", "tune"]
    checked = form.check({**empty, **fields, "steps": steps}, MOMENT, with_window)
    assert (checked["first_day"], checked["last_day"]) == days
    assert (checked["query"], checked["test_query"]) == ("", "")


def test_an_absent_mlflow_is_heard_of_before_any_work(home) -> None:
    settings = Settings(home=home, mlflow_url="http://127.0.0.1:9")
    fields = {
        "query": QUERY,
        "tag": None,
        "run_name": None,
        "test_query": None,
        "first_day": None,
        "last_day": None,
    }
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9"):
        form.check({"steps": list(form.STEPS), **fields}, MOMENT, settings)


def test_a_rollback_keeps_who_is_champion(settings, model) -> None:
    filled = {"model_name": model, "model_version": None, "reason": " too many alarms "}
    assert form.check_rollback(filled, settings) == {
        "model_name": model,
        "model_version": "",
        "reason": "too many alarms",
        "champion": "1",
    }
    for field, value in {"model_name": "nobody", "reason": "  "}.items():
        with pytest.raises(UsageError, match=f"'{field}'"):
            form.check_rollback(filled | {field: value}, settings)


def test_a_trial_needs_a_champion_and_another_version(settings, model) -> None:
    filled = {"model_name": model, "model_version": " 2 ", "mode": "canary", "force": None}
    checked = form.check_canary(filled, settings)
    assert checked == filled | {"model_version": "2", "force": "", "champion": "1"}
    wrong = {"model_name": ["nobody"], "model_version": ["1", "champion", "99", "nobody"]}
    for field, value in [(field, value) for field, values in wrong.items() for value in values]:
        with pytest.raises(UsageError, match=f"'{field}'"):
            form.check_canary(filled | {field: value}, settings)


def test_a_trial_of_a_refused_version_needs_a_reason(settings, model) -> None:
    filled = {"model_name": model, "model_version": "4", "mode": "shadow"}
    with pytest.raises(UsageError, match=r"'force'.*refused version 4 .*: It is worse at night"):
        form.check_canary(filled | {"force": None}, settings)
    assert form.check_canary(filled | {"force": "to see"}, settings)["champion"] == "1"


def ago(days: int) -> str:
    return f"{datetime.now(UTC).date() - timedelta(days=days)}"


@pytest.mark.parametrize(
    ("params", "partition", "date"),
    [
        ({"date": 20, "days": 7}, None, 20),
        ({"date": 7, "days": 7}, None, 7),
        ({"date": None, "days": 7.0}, 9, 9),
        ({"date": None, "days": 3}, None, 5),
    ],
)
def test_a_backtest_takes_its_date_from_form_partition_or_run(params, partition, date) -> None:
    # Dates are days ago: the tests may begin before midnight and end after it.
    params = params | {"date": params["date"] and ago(params["date"])}
    partition, date = partition and ago(partition), ago(date)
    moment = datetime.now(UTC) - timedelta(days=2)
    checked = form.check_backtest(params, partition, moment, Settings())
    assert (checked["date"], checked["days"]) == (date, params["days"])
    end = datetime.fromisoformat(f"{date}T00:00+00:00") + timedelta(days=params["days"])
    assert datetime.fromisoformat(checked["made"]) == end + form.HISTORY


def test_a_backtest_whose_days_are_not_over_names_the_date_that_can_be() -> None:
    with pytest.raises(UsageError) as refused:
        form.check_backtest({"date": ago(6), "days": 7}, None, datetime.now(UTC), Settings())
    assert str(refused.value) == (
        f"Correct the field 'date': The 7 days from {ago(6)} on are not over yet. The last date "
        f"whose days are over is {ago(7)}; {ago(6)} can be backtested from {ago(-1)} (UTC) on."
    )


@pytest.mark.parametrize("partition", ["2026-13-45", "2026-1-5", "soon", "0001-01-01"])
def test_a_partition_that_is_no_day_is_named(partition) -> None:
    with pytest.raises(UsageError, match=f"'date': '{partition}' is not a day"):
        form.check_backtest({"date": None, "days": 7}, partition, datetime.now(UTC), Settings())
