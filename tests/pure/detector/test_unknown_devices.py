"""A device that a model has no baseline of is judged by all else, and has its alarms."""

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.detector import model
from breezeway.detector.families.family import FoldRows
from breezeway.detector.families.trees import fold_matrices
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.model import DEFAULT_PARAMS
from breezeway.detector.table import Table
from breezeway.detector.unknown_devices import beside_unknown_devices
from tests.fixtures.plant import plant_contract, rows_from

BASELINE = """
[features.baseline]
readings = 100

[label]
"""
DEVICES, READINGS = 8, 500


@pytest.fixture(scope="module")
def contract() -> Contract:
    text = plant_contract().text.replace("[label]", BASELINE, 1)
    text = text.replace('temperature = ["mean"', 'temperature = ["baseline_zscore", "mean"', 1)
    return Contract.from_text(text, "plant.toml")


@pytest.fixture(scope="module")
def table(contract) -> Table:
    """Devices whose faults show in the temperature and, less, in the torque.

    Each has a baseline at first, in which nothing fails.
    """
    generator = np.random.default_rng(5)
    label = np.zeros((DEVICES, READINGS), dtype=int)
    label[:, 250:300] = 1
    rows = rows_from(label)
    faulty = label.ravel()
    features = generator.normal(size=(faulty.size, len(contract.feature_names)))
    features[:, place_of(contract)] += 4 * faulty
    features[:, contract.feature_names.index("torque")] += 2 * faulty
    features[np.tile(np.arange(READINGS) < 100, DEVICES), place_of(contract)] = np.nan
    return Table(rows, features.astype(np.float32), TrainingScope(until=0))


def place_of(contract: Contract) -> int:
    return contract.baseline_columns[0].place


def test_a_fault_of_a_device_without_a_baseline_is_seen(contract, table):
    booster = model.fit(
        table.features, table.rows.label, contract, DEFAULT_PARAMS, rounds=30, threads=1
    )
    fault = np.zeros((1, len(contract.feature_names)), np.float32)
    fault[0, contract.feature_names.index("torque")] = 4
    calm = np.zeros_like(fault)
    for features in (fault, calm):
        features[0, place_of(contract)] = np.nan
    seen, quiet = (float(booster.inplace_predict(each)[0]) for each in (fault, calm))
    assert seen > 0.5 > 0.2 > quiet


def test_a_search_learns_from_the_same_rows_as_a_fit(contract, table):
    features, label = table.features, table.rows.label
    fit, scored = np.arange(0, len(label), 2), np.arange(1, len(label), 2)
    _, own = beside_unknown_devices(features[fit], label[fit], contract)
    rows = FoldRows(features[fit], label[fit], features[scored])
    matrices = fold_matrices(rows, contract, 256)
    assert matrices.learned.num_row() == len(own) > len(fit)
    assert (matrices.label == own).all()
    assert matrices.scored.num_row() == len(scored)


def test_rows_stay_as_they_are_where_nothing_compares_with_a_baseline(table):
    features, label = beside_unknown_devices(table.features, table.rows.label, plant_contract())
    assert features is table.features
    assert label is table.rows.label
