"""One model and its readings: what the benches of the model server and of a request ask."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import xgboost as xgb

from breezeway.contract.contract import Contract
from breezeway.contract.features import latest_features
from breezeway.core.times import from_iso
from breezeway.detector.score_filter import filtered
from breezeway.readings.plant import simulate
from tests.fixtures.models import write_model

FIELDS = [f"f{number:02}" for number in range(20)]

CONTRACT = f"""\
name = "bench"
interval_seconds = 60
device_pattern = "machine-[0-9]+"

[payload]
format = "json"
{
    "".join(
        f'''
[fields.{name}]
type = "float"
range = [-100, 100]
'''
        for name in FIELDS
    )
}
[features]
window = 1

[features.reading]
{"".join(f'{name} = "{name}"{chr(10)}' for name in FIELDS)}
[label]
column = "label"

[alarm]
false_episodes_per_day = 2

[split]
by = "time"
"""


def make_model(folder: Path, contract: Contract, text: str, readings: list[dict]) -> xgb.Booster:
    """Write a model folder as the training step leaves it: 300 trees of depth 6."""
    generator = np.random.default_rng(0)
    names = contract.feature_names
    features = generator.normal(size=(20_000, len(names)))
    noise = generator.normal(size=len(features))
    label = np.sin(3 * features).sum(axis=1) + features[:, 0] * features[:, 1] + noise > 0
    data = xgb.DMatrix(features, label, feature_names=names)
    params = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.05, "nthread": 1}
    booster = xgb.train(params, data, 300)
    count = min(len(readings), 1 + contract.alarm.lookback)
    rows = latest_features(
        contract,
        [contract.parser.parse(reading["payload"]) for reading in readings],
        [from_iso(reading["time"]) for reading in readings],
        count,
    )
    scores = booster.inplace_predict(rows).astype(np.float64)
    score = float(filtered(scores, np.arange(count), contract.alarm)[-1])
    example = {"device": "machine-01", "readings": readings, "score": score}
    write_model(folder, booster, text, contract.name, [example])
    return booster


def plant_readings(count: int) -> list[dict[str, str]]:
    rows = simulate("machine-01", date(2026, 1, 5)).readings.slice(600, count).to_pylist()
    return [{"time": row["time"].isoformat(), "payload": row["payload"]} for row in rows]


def reading() -> tuple[dict[str, float], list[dict[str, str]]]:
    """The fields of one reading, and it as a client sends it."""
    values = np.random.default_rng(1).normal(size=len(FIELDS)).round(4).tolist()
    payload = dict(zip(FIELDS, values, strict=True))
    return payload, [{"time": "2026-01-05T10:00:00+00:00", "payload": json.dumps(payload)}]
