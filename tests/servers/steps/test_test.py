"""A registered version judged on readings that it does not know, in a real MLflow."""

import argparse
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.pipeline import evaluation
from breezeway.readings import simulate
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore
from breezeway.steps import preprocess, test, train
from breezeway.tracking import champions, mlflow_client, registry
from breezeway.tracking.load import load

QUERY = "SELECT device, time, payload FROM readings"


def command(**fields) -> argparse.Namespace:
    return argparse.Namespace(**fields)


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mlflow_server) -> Settings:
    """A home with three simulated machines and a model trained on them."""
    settings = Settings(home=tmp_path_factory.mktemp("judged"), mlflow_url=mlflow_server)
    simulate.fill(settings, devices=3, days=5, end=date(2026, 5, 1))
    made = preprocess.run(command(query=QUERY, tag="v1", day=None, first=None), settings)
    versions.publish(settings, settings.work / "v1" / "dataset", "v1")
    assert made["rows"] == 3 * 5 * 1440
    train.run(command(tag="v1", run_name="first", model_name="judged"), settings)
    return settings


@pytest.fixture(scope="module")
def first(settings) -> dict:
    return test.run(command(query=QUERY, model_name="judged", model_version="1"), settings)


def test_only_unknown_readings_are_judged(settings, first):
    model = load(settings, "judged", "1")
    readings = first["rows"]
    assert readings == 3 * 5 * 1440
    assert 0.15 < first["judged"] / readings < 0.25
    assert model.trained_on.until
    evidence = first["evidence"]
    assert evidence["labelled"] and evidence["rows"] == first["judged"]
    assert evidence["average_precision"] > evidence["baseline"]["always_on"]
    assert (evidence["champion"], evidence["difference"]) == (None, None)
    assert len(json.dumps(first)) < 4096


def test_without_a_query_what_was_held_out_is_judged_and_nothing_is_read(
    settings, first, monkeypatch
):
    champion = registry.find_model(settings, "judged").aliases.get("champion")
    monkeypatch.setattr(RawStore, "stream", None)
    found = test.run(command(query="", model_name="judged", model_version="1"), settings)
    assert champion is None
    assert found["judged"] == first["judged"]
    assert found["metrics"] == first["metrics"]
    assert found["evidence"]["baseline"] == first["evidence"]["baseline"]


def test_reports_and_evidence_are_kept(settings, first, tmp_path):
    client = mlflow_client.client(settings)
    kept = {file.path for file in client.list_artifacts(first["run_id"])}
    assert kept == {
        "alarm_reasons.png",
        "classification.html",
        "classification.json",
        "drift.html",
        "drift.json",
        "drift_findings.json",
        "evidence.json",
        "manifest.json",
        "scorecard.html",
        "scorecard.json",
    }
    tags = client.get_run(first["run_id"]).data.tags
    listed = {each["path"]: each["title"] for each in json.loads(tags["breezeway.reports"])}
    assert next(iter(listed)) == "scorecard.html"
    assert {path for path, title in listed.items() if title.endswith("(JSON)")} == {
        path for path in listed if path.endswith(".json")
    }
    card = client.download_artifacts(first["run_id"], "scorecard.html", str(tmp_path))
    f1 = first["metrics"]["f1"]
    assert f"<td class='n own'>{f1:.3f}" in Path(card).read_text(encoding="utf-8")
    page = client.download_artifacts(first["run_id"], "drift.html", str(tmp_path))
    verdict = "drifted" if first["drifted"] else "quiet"
    assert f">{verdict}</span></h1>" in Path(page).read_text(encoding="utf-8")
    assert champions.read_evidence(settings, "judged", "1").rows == first["judged"]
    assert not list(settings.work.glob(".test-*"))


def test_the_champion_is_judged_on_the_same_rows(settings, first):
    gate = load(settings, "judged", "1").contract.gate
    assert champions.pass_gate(settings, "judged", "1", gate).promote
    train.run(command(tag="v1", run_name="second", model_name="judged"), settings)
    found = test.run(command(query=QUERY, model_name="judged", model_version="2"), settings)
    difference = found["evidence"]["difference"]
    assert found["evidence"]["champion"] == "1"
    # the same data and parameters give the same model
    assert difference == {"estimate": 0.0, "low": 0.0, "high": 0.0}
    assert champions.pass_gate(settings, "judged", "2", gate).promote
    again = test.run(command(query=QUERY, model_name="judged", model_version="champion"), settings)
    assert again["model_version"] == "2" and again["evidence"]["champion"] == "2"


def test_a_champion_of_another_contract_reads_the_readings_by_its_own(settings, first, tmp_path):
    model = load(settings, "judged", "1")
    text = model.contract.text.replace("max_share = 0.2 ", "max_share = 0.3 ")
    champion = replace(model, contract=Contract.from_text(text, "sensors.toml"))
    rows, _ = evaluation._features(QUERY, model, settings, tmp_path / "dataset")
    truth = rows.filter(pa.array(evaluation._unseen(rows, model)))
    truth = truth.append_column("score", pa.array(model.score_readings(truth)))
    ours, other = (
        evaluation._beside(QUERY, model, beside, truth, settings, tmp_path)
        for beside in (model, champion)
    )
    assert len(ours) == len(truth) == first["judged"]
    assert ours.equals(other)
    assert ours["champion_score"].equals(ours["score"])


def test_readings_that_it_knows_are_refused(settings, first):
    known = f"{QUERY} WHERE time < '2026-04-27'"
    with pytest.raises(DataError, match="ask for newer ones"):
        test.run(command(query=known, model_name="judged", model_version="1"), settings)
    assert not list(settings.work.glob(".test-*"))


def test_without_labels_there_is_drift_but_nothing_to_promote_on(settings, first):
    faults = LabelStore(settings.raw_address).labels().to_pylist()
    hour = next(
        start
        for start in (datetime(2026, 4, 30, hour, tzinfo=UTC) for hour in range(24))
        if not any(
            fault["device"] == "machine-01"
            and fault["start"] < start + timedelta(hours=1)
            and fault["end"] > start
            for fault in faults
        )
    )
    quiet = (
        f"{QUERY} WHERE device = 'machine-01' AND time >= '{hour:%Y-%m-%d %H:%M:%S}' "
        f"AND time < '{hour + timedelta(hours=1):%Y-%m-%d %H:%M:%S}'"
    )
    found = test.run(command(query=quiet, model_name="judged", model_version="1"), settings)
    assert found["judged"] == 60
    assert not found["evidence"]["labelled"] and found["metrics"] is None
    decision = champions.pass_gate(
        settings, "judged", "1", load(settings, "judged", "1").contract.gate
    )
    assert not decision.promote


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"model_name": "nobody"}, UsageError, "nobody"),
        ({"model_version": "99"}, UsageError, "99"),
        ({"query": "DROP TABLE readings"}, UsageError, "SELECT"),
        ({"query": f"{QUERY} WHERE 1 = 0"}, DataError, "no row"),
    ],
)
def test_bad_input(settings, first, fields, error, message):
    given = {"query": QUERY, "model_name": "judged", "model_version": "1"} | fields
    with pytest.raises(error, match=message):
        test.run(command(**given), settings)


def test_mlflow_away(settings):
    away = settings.model_copy(update={"mlflow_url": "http://127.0.0.1:9"})
    with pytest.raises(ServiceUnavailable):
        test.run(command(query=QUERY, model_name="judged", model_version="1"), away)
