"""A plant without labels, from its readings to an alarm that says why; and the day labels come."""

import argparse
import json
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.datasets import history, versions
from breezeway.detector.alarm_rate import NOT_JUDGED
from breezeway.pipeline import backtest_report, label_queue, lineage, overview
from breezeway.preprocessing import days
from breezeway.readings import labels
from breezeway.readings.store import RawStore
from breezeway.steps import drift, preprocess, score, test, train, tune
from breezeway.tracking import champions, mlflow_client, registry
from breezeway.tracking.load import load
from tests.fixtures.deployment import DeploySteps
from tests.fixtures.unlabelled import (
    BEGIN,
    DEVICES,
    FIRST,
    HOUR,
    LABEL,
    fault_intervals,
    payload,
    readings,
    text_of,
)

MODEL = "oven"
KNOWN, ALL = 24, 48
"""Days: those that the first model knows of, in which nothing is broken; and all."""
EVERYTHING = "SELECT device, time, payload FROM readings"
AT_FIRST = f"{EVERYTHING} WHERE time < '{FIRST + timedelta(days=KNOWN)}'"


def run(step: ModuleType, settings: Settings, **words: Any) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    step.add_arguments(parser)
    given = [f"--{name.replace('_', '-')}={value}" for name, value in words.items()]
    return step.run(parser.parse_args(given), settings)


def train_on(settings: Settings, tag: str, query: str) -> dict[str, Any]:
    """Preprocess, tune and train, and publish what is between them, as the DAG does."""
    made = run(preprocess, settings, query=query, tag=tag)
    versions.publish(settings, Path(made["folder"]), tag)
    tuned = run(tune, settings, tag=tag, count=2)
    params = versions.publish_params(settings, Path(tuned["params_file"]).parent, tag)
    return run(train, settings, tag=params.params_tag, run_name=tag)


def gate(settings: Settings, version: str) -> champions.Decision:
    return champions.pass_gate(settings, MODEL, version, load_contract(settings.sensors).gate)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Settings:
    folder = tmp_path_factory.mktemp("ovens")
    (folder / "oven.toml").write_text(text_of())
    settings = Settings(
        home=folder / "home", mlflow_url=mlflow_server, sensors=folder / "oven.toml"
    )
    store = RawStore(settings.raw_address)
    store.create()
    store.append(readings(ALL, faults_from=KNOWN))
    return settings


@pytest.fixture(scope="module")
def trained(settings: Settings) -> dict[str, Any]:
    return train_on(settings, "first", AT_FIRST)


@pytest.fixture(scope="module")
def judged(settings: Settings, trained: dict[str, Any]) -> dict[str, Any]:
    return run(test, settings, model_name=MODEL, model_version="1", query=AT_FIRST)


@pytest.fixture(scope="module")
def promoted(settings: Settings, judged: dict[str, Any]) -> champions.Decision:
    return gate(settings, "1")


def test_a_training_says_what_it_promises_and_what_nobody_can_judge(settings, trained):
    metrics = trained["metrics"]
    assert trained["not_judged"] == NOT_JUDGED
    assert (trained["params_tag"], trained["baselines"]) == ("first-params-1", {})
    assert metrics["promised_episodes_per_day"] == 0.1
    assert metrics["rows"] == KNOWN // 4 * 24 * len(DEVICES)  # a quarter is held out
    assert metrics["alarm_episodes_per_day_low"] <= 0.1
    assert "f1" not in metrics
    client = mlflow_client.client(settings)
    logged = client.get_run(trained["run_id"]).data
    assert logged.params["family"] == "average distance"
    assert logged.metrics["alarm_episodes"] == metrics["alarm_episodes"]
    reports = json.loads(logged.tags["breezeway.reports"])
    kept = {f.path for f in client.list_artifacts(trained["run_id"], "reports")}
    assert kept == {title if isinstance(title, str) else title["path"] for title in reports}
    assert "reports/confusion_matrix.png" not in kept


def test_recent_readings_are_judged_by_the_promise_alone(settings, judged, promoted):
    assert (judged["metrics"], judged["not_judged"]) == (None, NOT_JUDGED)
    evidence = judged["evidence"]
    assert (evidence["has_labels"], evidence["labelled"]) == (False, False)
    assert evidence["promise"]["budget"] == 0.1
    assert evidence["promise"]["replayed"]
    assert len(json.dumps(judged)) < 4096
    assert promoted.promote, promoted.reason
    assert champions.champion(settings, MODEL) == "1"
    told = registry.find_version(settings, MODEL, "1").tags["reason"]
    assert told.endswith("Without labels nothing shows what it finds or misses.")


def test_in_service_it_rings_and_says_why(promoted, deploy: DeploySteps):
    assert deploy(MODEL, "champion")["model_version"] == "1"
    usual = payload(200, 20, 1000)
    for fan, alarm in ((1000, False), (0, True)):
        texts = [*[usual] * 4, payload(200, 20, fan)]
        sent = [
            {"time": (BEGIN + hour * HOUR).isoformat(), "payload": text}
            for hour, text in enumerate(texts)
        ]
        answer = deploy.server.predict(MODEL, device="oven-1", readings=sent).json()
        assert answer["alarm"] == alarm, answer
    assert answer["why"][0]["field"] == "fan"
    assert answer["score"] >= answer["threshold"]


def test_days_are_scored_and_a_night_counts_its_alarms(settings, promoted, tmp_path):
    last = FIRST + timedelta(days=ALL - 1)
    scored = run(score, settings, model_name=MODEL, model_version="1", first=last, last=last)
    assert scored["rows"] == 24 * len(DEVICES)
    night = run(drift, settings, model_name=MODEL, date=last)
    assert night["rows"] == 24 * len(DEVICES)
    assert "labels" not in night
    client = mlflow_client.client(settings)
    assert client.get_run(night["run_id"]).data.metrics["alarm_episodes"] >= 0
    page = Path(client.download_artifacts(night["run_id"], "drift.html", str(tmp_path)))
    assert "precision, recall and F1 cannot be judged" in page.read_text("utf-8")


def test_pages_and_lineage_show_what_is_known(settings, promoted):
    (facts,) = (m for m in overview.look(settings, 60).models if m.name == MODEL)
    assert [figure.name for figure in facts.figures] == ["alarms a day of a device"]
    told = lineage.trace(settings, f"{MODEL}/1")
    assert (told["problems"], told["data"]["tag"]) == ([], "first")


def test_the_label_queue_asks_what_the_model_is_unsure_of(settings, promoted, tmp_path):
    given = {"model_name": MODEL, "challenger_version": None, "query": None, "count": 5}
    found = label_queue.make_queue(settings, tmp_path, **given)
    assert found["picked"][label_queue.UNSURE] == 5
    asked = labels.read(tmp_path / "queue.csv", "ann")
    assert len(asked) == 0  # until somebody has filled it in


def test_a_backtest_counts_alarms(settings, tmp_path):
    contract = load_contract(settings.sensors)
    for number in range(5):
        day = FIRST + timedelta(days=number)
        (made := tmp_path / str(day)).mkdir()
        days.make_day(settings, contract, day, made)
        assert pq.read_table(made / "features")["label"].null_count == 24 * len(DEVICES)
        history.publish_day(settings, made, day, 1, "made")
    found = backtest_report.backtest(settings, FIRST + timedelta(days=4), 1)
    assert found["not_judged"] == NOT_JUDGED
    assert (found["rows"], found["events"], found["average_precision"]) == (72, 0, None)
    assert found["false_episodes_per_day"] == pytest.approx(found["alarms"] / len(DEVICES))


def test_labels_come_and_a_model_that_learned_from_them_wins(settings, promoted, tmp_path, caplog):
    given = labels.table(fault_intervals(ALL, KNOWN), "ann", BEGIN + timedelta(days=ALL))
    assert labels.keep(settings, given)["new"] == len(given)
    assert "has no [label]" in caplog.text
    sensors = tmp_path / "oven.toml"
    sensors.write_text(text_of(LABEL))
    labelled = settings.model_copy(update={"sensors": sensors})
    assert train_on(labelled, "second", EVERYTHING)["model_version"] == "2"
    assert load(labelled, MODEL, "2").family == "boosted trees"
    evidence = run(test, labelled, model_name=MODEL, model_version="2", query=EVERYTHING)[
        "evidence"
    ]
    assert (evidence["champion"], evidence["champion_has_labels"]) == ("1", False)
    assert evidence["difference"]["low"] > 0
    decision = gate(labelled, "2")
    assert decision.promote, decision.reason
    assert "of champion 1: difference +" in decision.reason
    assert "a day, 95 % interval" in decision.reason
    # Without its labels nothing shows that a further one is as good.
    again = train_on(settings, "third", EVERYTHING)["model_version"]
    run(test, settings, model_name=MODEL, model_version=again, query=EVERYTHING)
    refused = gate(settings, again)
    assert not refused.promote
    assert refused.reason.startswith("Champion 2 learned from labels and this version did not")
