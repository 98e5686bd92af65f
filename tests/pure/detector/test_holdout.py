"""What judges a model was never learned from."""

import numpy as np
import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.holdout import TrainingScope, training_scope, whole_scope
from tests.fixtures.plant import CONTRACT, plant_contract

START = np.datetime64("2026-01-01", "us")


def rows_of(devices: int, each: int) -> scorecard.Rows:
    names = np.repeat([f"mill-{d}" for d in range(devices)], each)
    times = np.tile(START + np.arange(each).astype("timedelta64[m]"), devices)
    label = np.zeros(devices * each, np.int8)
    label[:: 2 * each] = 1  # every second device has an event
    return scorecard.rows_of({"device": names, "time": times, "label": label})


def test_by_time_the_newest_share_is_kept_back():
    rows = rows_of(4, 1000)
    scope = training_scope(rows, Contract.from_text(CONTRACT.format(by="time"), "x"))
    seen = rows.time < scope.until
    assert scope.devices is None
    assert seen.mean() == pytest.approx(0.8, abs=0.01)
    assert rows.time[seen].max() < rows.time[~seen].min()


def test_by_device_whole_devices_are_kept_back_with_and_without_events():
    rows = rows_of(20, 10)
    scope = training_scope(rows, Contract.from_text(CONTRACT.format(by="device"), "x"))
    names = rows.names[rows.device]
    seen = scope.covers(names, rows.time.astype("datetime64[us]"))
    assert set(names[seen]) == scope.devices and not set(names[~seen]) & scope.devices
    assert len(set(names[~seen])) == 4
    assert len({name for name in names[~seen & rows.label]}) == 2
    later = pa.array([int(rows.time.max()) + 60_000_000], pa.timestamp("us", "UTC"))
    assert not scope.covers(pa.array([next(iter(scope.devices))]), later).any()


def test_the_newest_days_are_kept_back_the_unfinished_last_one_too():
    rows = rows_of(2, 4 * 1440 + 60)  # four days and an hour
    contract = plant_contract(by="time", folds='holdout = "2d"')
    scope = training_scope(rows, contract)
    assert scope.until_text == "2026-01-04T00:00:00+00:00"


@pytest.mark.parametrize(
    ("last", "until"),
    [
        (
            "2026-03-30T21:59",
            "2026-03-28T23:00",
        ),  # the last minute of the day after one of 23 hours
        ("2026-03-30T22:00", "2026-03-29T22:00"),
        ("2026-10-26T22:59", "2026-10-24T22:00"),  # of 25 hours
        ("2026-10-26T23:00", "2026-10-25T23:00"),
    ],
)
def test_the_newest_days_are_those_of_the_contracts_zone(last, until):
    time = np.datetime64(last, "us") - np.arange(8000).astype("timedelta64[m]")
    rows = scorecard.rows_of({"device": ["mill-1"] * 8000, "time": time, "label": [0, 1] * 4000})
    contract = plant_contract(by="time", name='time_zone = "Europe/Berlin"\nname = "mill"')
    contract = Contract.from_text(contract.text.replace("folds = 3", 'holdout = "2d"'), "x")
    assert training_scope(rows, contract).until_text == f"{until}:00+00:00"


def test_a_dataset_of_fewer_days_cannot_be_split():
    contract = plant_contract(by="time", folds='holdout = "5d"')
    with pytest.raises(DataError, match="5 days cannot be kept back from a dataset of 5 days"):
        training_scope(rows_of(2, 4 * 1440 + 60), contract)


@pytest.mark.parametrize("by", ["time", "device"])
def test_nothing_is_kept_back_from_the_fit_that_serves(by):
    rows = rows_of(20, 10)
    scope = whole_scope(rows, plant_contract(by=by))
    assert scope.covers(rows.names[rows.device], rows.time.astype("datetime64[us]")).all()
    assert scope.devices == (None if by == "time" else set(rows.names))


def test_one_device_cannot_be_split():
    with pytest.raises(DataError, match=r"split.holdout: 1 devices are too few"):
        training_scope(rows_of(1, 10), Contract.from_text(CONTRACT.format(by="device"), "x"))


@pytest.mark.parametrize("devices", [None, frozenset({"b", "é"})])
def test_scope_survives_json(devices):
    scope = TrainingScope(1_767_225_600_123_457, devices)
    assert TrainingScope.from_json(scope.to_json()) == scope
