"""From a contract with `auto` to a model whose server computes what was chosen, and no more."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.deployment.store import Served
from breezeway.detector.scoring import ScoringModel
from breezeway.pipeline import evaluation
from breezeway.pipeline.learned import learned_contract, learned_examples
from breezeway.pipeline.training import train
from breezeway.pipeline.tuning import tune
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.arrow import READINGS
from breezeway.serving.predict import LiveModel
from breezeway.tracking import reports
from breezeway.tracking.load import load
from tests.fixtures.candidates import DEVICES, auto_text, faults, times, values_of
from tests.fixtures.candidates import READINGS as COUNT

BASELINE = "[features.baseline]\nreadings = 30\n\n[features.rolling]\n"


def contract() -> Contract:
    text = auto_text("time").replace('"mill"', '"chosen"').replace("[features.rolling]\n", BASELINE)
    text = text.replace('"mean", "slope"', '"mean", "slope", "from_baseline"')
    text = text.replace('column = "label"', 'table = "labels"')
    return Contract.from_text(f"{text}\n[train]\nrefit = true\n", "sensors.toml")


def raw_readings() -> tuple[pa.Table, pa.Table]:
    """Readings and fault intervals."""
    label = faults()
    values, moments = values_of("load", label), times()
    rows = [
        (f"mill-{device}", moment, json.dumps({"env": {"temperature": heat}, "torque": turn}))
        for device in range(DEVICES)
        for moment, heat, turn in zip(
            moments, *(values[name][device].tolist() for name in values), strict=True
        )
    ]
    devices, at, payloads = zip(*rows, strict=True)
    nothing = pa.nulls(len(rows), READINGS.field(3).type)
    at = pa.array(np.array(at)).cast(READINGS.field("time").type)
    readings = pa.table([pa.array(devices), at, pa.array(payloads), nothing], schema=READINGS)
    found = []
    for device in range(DEVICES):
        edges = np.diff(label[device], prepend=0, append=0)
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            begin = moments[0] + int(start) * np.timedelta64(60, "s")
            stop = moments[0] + int(end) * np.timedelta64(60, "s")
            found.append((f"mill-{device}", begin, stop))
    names, starts, ends = zip(*found, strict=True)
    moment = pa.timestamp("us", "UTC")
    labels = pa.table(
        {
            "device": pa.array(names),
            "start": pa.array(np.array(starts)).cast(moment),
            "end": pa.array(np.array(ends)).cast(moment),
        }
    )
    return readings, labels


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mlflow_server) -> Settings:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, mlflow_url=mlflow_server, threads=2)
    readings, labels = raw_readings()
    folder = tmp_path_factory.mktemp("made") / "dataset"
    folder.mkdir()
    make_dataset([readings], DatasetSpec(contract(), "test", labels), folder, settings)
    versions.publish(settings, folder, "v1", "for tests")
    return settings


@pytest.fixture(scope="module")
def tuned(settings):
    return tune(settings, "v1", 2)


@pytest.fixture(scope="module")
def trained(settings, tuned):
    tag = versions.publish_params(settings, settings.work / "v1", "v1").params_tag
    return train(settings, tag, "chosen")


def live_model(model: ScoringModel) -> LiveModel:
    names = {"model_name": "chosen", "model_version": "1", "bento": "chosen:1", "data_tag": "v1"}
    names["deployment"] = "chosen-1"
    moment = datetime.now(UTC)
    served = Served.model_validate({**names, "sha256": "0" * 64, "deployed_at": moment})
    return LiveModel(model, served, moment)


def test_the_result_names_what_was_kept_and_what_was_tried(tuned, settings):
    chosen = tuned["features"]
    assert chosen["kept"][0]["name"].startswith("residuals given ")
    assert chosen["variants"] > chosen["tried"] > 5
    assert all(each["gain"] > 0 and each["microseconds"] >= 0 for each in chosen["kept"])
    assert len(json.dumps(tuned)) < 4096
    params = json.loads((settings.work / "v1" / "params.json").read_text("utf-8"))
    assert params["features"] == {
        "variants": chosen["variants"],
        "kept": [each["name"] for each in chosen["kept"]],
    }


def test_the_list_is_a_report(tuned, settings):
    run = reports.get(settings, tuned["run_id"])
    assert {"Features chosen", "Features chosen (JSON)"} <= {each.title for each in run.reports}
    with reports.open_report(settings, run, "features.json") as content:
        told = json.loads(content.read())
    assert len(told["groups"]) == tuned["features"]["tried"]
    assert all(group["verdict"] and group["low"] <= group["high"] for group in told["groups"])
    assert told["average_precision"]["after"] > told["average_precision"]["before"]
    with reports.open_report(settings, run, "features.png") as content:
        assert content.read().startswith(b"\x89PNG")


def test_searched_again_it_gives_the_same_bytes(tuned, settings):
    work = settings.work / "v1"
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    tune(settings, "v1", 2)
    assert {path.name: path.read_bytes() for path in work.iterdir()} == before


def test_the_model_has_the_chosen_features_and_no_auto(trained, settings):
    model = load(settings, "chosen", trained["model_version"])
    whole = contract()
    assert not model.contract.features.auto
    assert set(model.feature_names) < set(whole.feature_names)
    assert "torque_mean_3" in model.feature_names
    residual = model.contract.features.residual
    assert len(residual.given) >= 2
    assert not {*residual.of} & {*residual.given}
    assert model.contract.window < whole.window
    assert set(model.baselines["mill-0"].features) == {"temperature"}


def test_the_server_computes_the_bits_of_history(trained, settings):
    """Of rows that the auto dataset holds, by the model's own contract and baselines."""
    model = load(settings, "chosen", trained["model_version"])
    version = versions.open_dataset(settings, "v1")
    rows = ds.dataset(version.folder / "features").to_table().filter(ds.field("device") == "mill-3")
    rows = rows.sort_by("time")
    readings, _ = raw_readings()
    own = readings.filter(pa.compute.equal(readings["device"], "mill-3")).sort_by("time")
    sent = [{"time": row["time"].isoformat(), "payload": row["payload"]} for row in own.to_pylist()]
    live = live_model(model)
    scores = model.score_readings(rows)
    for end in (1, 2, 5, 31, 40, 333, COUNT):
        found = live.features("mill-3", sent[max(0, end - 200) : end], [])[-1]
        wanted = [rows[name][end - 1].as_py() for name in model.feature_names]
        np.testing.assert_array_equal(found, np.array(wanted, np.float64))
        assert live.score("mill-3", sent[max(0, end - 200) : end]) == scores[end - 1]


def test_recorded_examples_have_the_chosen_features(trained, settings):
    version = versions.open_dataset(settings, "v1")
    model = load(settings, "chosen", trained["model_version"])
    found = learned_examples(version.folder, model.contract)
    assert all(len(each["features"]) == len(model.feature_names) for each in found)
    live = live_model(model)
    for example in found:
        computed = live.features(example["device"], example["readings"], [])[-1]
        known = np.array([np.nan if x is None else x for x in example["features"]])
        np.testing.assert_array_equal(computed, known)


def test_it_is_judged_on_what_was_held_out(trained, settings):
    found = evaluation.judge("", "chosen", trained["model_version"], settings)
    assert 0 < found["judged"] < found["rows"]
    assert found["metrics"]["average_precision"] > 0.8


def test_without_tuning_a_model_has_the_contracts_own_features(settings, caplog):
    opened = versions.open_dataset(settings, "v1")
    own = learned_contract(replace(opened, params=None, params_tag=None))
    assert not own.features.auto
    assert len(own.feature_names) == 8
    assert "no features were chosen for v1" in caplog.text
    without = {"params": {}, "rounds": 1, "family": "boosted trees"}  # tuned without labels
    assert learned_contract(replace(opened, params=without)).feature_names == own.feature_names


def test_parameters_that_name_other_features_are_refused(tuned, settings):
    opened = versions.open_dataset(settings, "v1")
    text = json.loads((settings.work / "v1" / "params.json").read_text("utf-8"))["contract"]
    bad = {
        "temperature_mean_7": text.replace('"slope"', '"mean:7"', 1),
        "features.auto": text.replace("[features]", "[features]\nauto = true"),
        "gate": f"{text}\n[gate]\nmax_loss = 0.5\n",
        "expected text": ["x"],
        "not TOML": "[",
    }
    for told, wrong in bad.items():
        with pytest.raises(DataError, match=told):
            learned_contract(replace(opened, params={"contract": wrong}, params_tag="v1-params-1"))
