"""Groups that are served worse are found, and chance is told apart from them."""

import numpy as np
import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.detector import groups
from breezeway.detector.groups import category_groups, device_groups
from breezeway.detector.holdout import whole_scope
from breezeway.detector.table import Table
from tests.fixtures.plant import rows_from

BLOCK = 600.0


def days(devices: int, events: int = 30) -> np.ndarray:
    """Each device has an event of ten readings in each hundred."""
    label = np.zeros((devices, 100 * events), bool)
    for start in range(0, 100 * events, 100):
        label[:, start + 50 : start + 60] = True
    return label


def test_a_device_whose_events_are_missed_is_worse():
    label = days(4)
    alarm = label.copy()
    alarm[2, :1500] = False
    found = device_groups(rows_from(label), alarm.ravel(), BLOCK)
    assert [group.worse for group in found] == [False, False, True, False]
    assert [group.events for group in found] == [30] * 4
    assert found[2].hit.value == 0.5
    # Wilson's interval of 15 in 30
    assert (found[2].hit.low, found[2].hit.high) == pytest.approx((0.3315, 0.6685), abs=1e-4)
    assert found[0].hit.high == 1


def test_a_device_with_more_false_alarms_is_worse_only_if_they_are_in_many_blocks():
    label = days(4)
    often, once = label.copy(), label.copy()
    often[1, ::25] = True
    once[1, 10:45] = True
    worse = [
        device_groups(rows_from(label), alarm.ravel(), BLOCK)[1].worse for alarm in (often, once)
    ]
    assert worse == [True, False]
    false = device_groups(rows_from(label), often.ravel(), BLOCK)[1].false
    assert false.low < false.value < false.high


def test_with_very_many_devices_there_are_no_groups(monkeypatch):
    label = days(3)
    monkeypatch.setattr(groups, "MOST_DEVICES", 2)
    assert device_groups(rows_from(label), label.ravel(), BLOCK) == []


def test_a_value_of_a_category_is_a_group_and_an_event_has_that_of_its_start():
    contract = load_contract(Settings.shipped_sensors / "plant.toml")
    label = days(2)
    rows = rows_from(label)
    place = contract.feature_names.index("mode")
    features = np.zeros((len(rows.label), len(contract.feature_names)), np.float32)
    within = np.arange(len(rows.label)) % 100
    features[:, place] = np.where(within < 55, 1, 2)
    features[:5, place] = np.nan
    table = Table(rows, features, whole_scope(rows, contract))
    judged = np.ones(len(rows.label), bool)
    found = category_groups(table, judged, contract, label.ravel(), BLOCK)
    assert [(group.kind, group.name) for group in found] == [
        ("mode", "missing"), ("mode", "normal"), ("mode", "boost"),
    ]  # fmt: skip
    assert [group.events for group in found] == [0, 60, 0]
    assert [group.hit is None for group in found] == [True, False, True]
    assert sum(group.rows for group in found) == len(rows.label)
