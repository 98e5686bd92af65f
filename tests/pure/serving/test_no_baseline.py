"""A model that compares devices with their baselines answers for those that have none."""

import json

import numpy as np
import pytest

from breezeway.contract.baselines import DeviceBaseline, Figures, write_baselines
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector.boosting import xgb
from breezeway.serving.loading import load
from tests.fixtures.models import write_model
from tests.fixtures.pointers import pointer_to

TEXT = """
name = "pump"
interval_seconds = 60
alarm = { false_episodes_per_day = 1 }
split = { by = "time" }
label = { column = "label" }
payload = { format = "json" }
fields = { a = { type = "float" } }
[features]
window = 1
baseline = { readings = 2 }
reading = { a = "a" }
rolling = { a = ["from_baseline"] }
"""
READINGS = [{"time": "2026-03-01T00:00:00Z", "payload": '{"a": 7.5}'}]


@pytest.fixture
def folder(tmp_path):
    contract = Contract.from_text(TEXT, "pump.toml")
    features = np.random.default_rng(1).normal(size=(50, 2))
    data = xgb.DMatrix(features, features[:, 1] > 0, feature_names=contract.feature_names)
    booster = xgb.train({"objective": "binary:logistic", "nthread": 1}, data, 5)
    score = float(booster.inplace_predict(np.array([[7.5, 5.25]]))[0])
    example = {"device": "old", "readings": READINGS, "score": score}
    made = write_model(tmp_path / "model", booster, TEXT, "pump", [example])
    own = DeviceBaseline(first=1, last=2, features={"a": Figures(mean=2.25, std=1.0, count=2)})
    write_baselines({"old": own, "young": None}, made / "extra_files")
    return made


def test_a_device_without_a_baseline_is_flagged_and_not_compared(folder):
    live = load(folder, pointer_to(1))
    for device, expected, reasons in (
        ("old", 5.25, []),
        ("young", np.nan, ["no_baseline"]),
        ("new", np.nan, ["no_baseline"]),
    ):
        flags = []
        (row,) = live.features(device, READINGS, flags)
        assert row.tolist() == pytest.approx([7.5, expected], abs=0, nan_ok=True)
        assert [flag["reason"] for flag in flags] == reasons
        assert json.dumps(live.answer(0.5, flags))


def test_a_model_whose_baselines_are_missing_is_not_loaded(folder):
    (folder / "extra_files" / "baselines.json").unlink()
    with pytest.raises(DataError, match=r"baselines\.json"):
        load(folder, pointer_to(1))
