"""Real data, replayed through HTTP, has the scores that history gives it."""

import os
import shutil
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost as xgb

from breezeway.contract.baselines import BASELINES_FILE
from breezeway.contract.contract import Contract, load_contract
from breezeway.core.settings import Settings
from breezeway.detector.scoring import load_folder
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings import file_loads
from breezeway.readings.store import RawStore
from tests.fixtures import ROOT
from tests.fixtures.models import write_model
from tests.fixtures.serving import add_deployment

DATA = Path(os.environ.get("BREEZEWAY_TEST_DATA", ROOT.parent / "shared" / "data"))
ROWS = {"skab": 46_806, "ai4i": 10_000}
EACH = {"skab": 7, "ai4i": 1}
"""Of so many readings one is the last of a request."""
BATCH = 400
"""Requests in one call: below the server's limit of 4 MiB with windows of 60 readings."""


def load(name: str, settings: Settings) -> list[dict]:
    """All readings as they are in the raw store, by device and time."""
    if not (DATA / name).is_dir():
        pytest.skip(f"needs {name} in {DATA} (BREEZEWAY_TEST_DATA)")
    contract = load_contract(Settings.shipped_sensors / f"{name}.toml")
    file_loads.load(settings, [DATA / name], contract)
    query = "SELECT device, time, payload, label FROM readings ORDER BY device, time"
    return pa.concat_tables(RawStore(settings.raw_address).stream(query, label="label")).to_pylist()


def preprocess(readings: list[dict], contract: Contract, folder: Path) -> pa.Table:
    folder.mkdir()
    chunks = [pa.Table.from_pylist(readings)]
    manifest = make_dataset(chunks, DatasetSpec(contract, ""), folder, Settings())
    assert manifest.rows == len(readings)
    return pa.concat_tables(pq.read_table(p) for p in sorted((folder / "features").iterdir()))


def train(folder: Path, dataset: Path, table: pa.Table, contract: Contract) -> np.ndarray:
    """Write a small model folder; returns the features of all rows."""
    names = contract.feature_names
    features = np.column_stack([table[name].to_numpy() for name in names])
    data = xgb.QuantileDMatrix(features, table["label"].to_numpy(), feature_names=names)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 5}, data, 60)
    examples = [
        {**example, "score": float(booster.inplace_predict(np.array([example["features"]]))[0])}
        for example in orjson.loads((dataset / "examples.json").read_bytes())
    ]
    write_model(folder, booster, (dataset / "contract.toml").read_text(), contract.name, examples)
    if contract.features.baseline:
        shutil.copyfile(dataset / BASELINES_FILE, folder / "extra_files" / BASELINES_FILE)
    return features


def requests(readings: list[dict], window: int) -> Iterator[dict]:
    """For each reading what a device would send: itself and those before it."""
    for device, own in groupby(readings, lambda reading: reading["device"]):
        sent = [{"time": r["time"].isoformat(), "payload": r["payload"]} for r in own]
        for end in range(1, len(sent) + 1):
            yield {"device": device, "readings": sent[max(0, end - window) : end]}


@pytest.mark.parametrize("name", ["skab", "ai4i"])
def test_online_scores_are_the_offline_scores(model_server, tmp_path, name):
    readings = load(name, Settings(home=tmp_path))
    contract = load_contract(Settings.shipped_sensors / f"{name}.toml")
    table = preprocess(readings, contract, tmp_path / "dataset")
    features = train(tmp_path / "model", tmp_path / "dataset", table, contract)
    offline = load_folder(tmp_path / "model").score(features)

    pointer = add_deployment(model_server.store, name, 1, tmp_path / "model")
    model_server.store.point(pointer)
    model_server.wait(name, lambda status: status.get("deployment") == pointer.deployment)
    assert len(readings) == ROWS[name]
    sent = list(islice(requests(readings, contract.window), 0, None, EACH[name]))
    online = []
    for start in range(0, len(sent), BATCH):
        body = orjson.dumps({"requests": sent[start : start + BATCH]})
        answer = model_server.http.post(f"/v1/models/{name}/predict-batch", content=body)
        online += [
            prediction["score"] for prediction in orjson.loads(answer.content)["predictions"]
        ]

    asked = offline[:: EACH[name]]
    assert np.ptp(asked) > 0.5
    assert np.array(online).tolist() == asked.tolist()
