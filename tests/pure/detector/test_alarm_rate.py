"""How often normal rows are in alarm, with intervals that a fault does not fool."""

import numpy as np
import pyarrow as pa
import pytest

from breezeway.detector.alarm_rate import alarm_rate, rows_and_alarms
from breezeway.detector.scorecard import Rows, rows_of
from tests.fixtures.unlabelled import LABEL, make_contract

CONTRACT = make_contract()
HOURS, DEVICES = 24 * 20, 5


def frame_of(alarms: np.ndarray, label: np.ndarray | None = None) -> pa.Table:
    """Rows of hours, as many as (devices, hours) of `alarms`."""
    devices, hours = alarms.shape
    at = np.datetime64("2026-03-02", "us") + np.arange(hours) * np.timedelta64(1, "h")
    nothing = pa.nulls(alarms.size, pa.int8())
    return pa.table(
        {
            "device": np.repeat([f"m{place}" for place in range(devices)], hours),
            "time": pa.array(np.tile(at, devices)).cast(pa.timestamp("us", "UTC")),
            "label": nothing if label is None else pa.array(label.ravel().astype(np.int8)),
            "score": alarms.ravel().astype(float),
        }
    )


def measured(alarms: np.ndarray, label: np.ndarray | None = None):
    return alarm_rate(*rows_and_alarms(frame_of(alarms, label), 0.5), CONTRACT)


def test_episodes_are_counted_not_readings():
    alarms = np.zeros((DEVICES, HOURS), bool)
    alarms[0, 10:14] = alarms[0, 300] = alarms[1, 40:80] = True
    rate = measured(alarms)
    assert (rate.rows, rate.episodes, rate.device_days) == (DEVICES * HOURS, 3, 100)
    # The exact interval of three of a Poisson distribution is 0.619 to 8.767.
    assert rate.per_day == pytest.approx((0.03, 0.00619, 0.08767), abs=1e-4)


def test_no_alarm_is_no_proof_that_there_is_none():
    rate = measured(np.zeros((DEVICES, HOURS), bool))
    assert rate.per_day == pytest.approx((0, 0, 0.03689), abs=1e-4)
    assert rate.share == (0, 0, 0)


def test_one_device_in_alarm_for_weeks_does_not_hide_the_others():
    alarms = np.zeros((DEVICES, HOURS), bool)
    alarms[0] = True
    assert measured(alarms).share == (0, 0, 0)
    alarms[:3, :] = True
    assert measured(alarms).share.value == 1


def test_the_interval_of_a_share_is_that_of_blocks_of_time():
    alarms = np.zeros((DEVICES, HOURS), bool)
    alarms[:, : HOURS // 10] = True  # of each device the same hours: of all blocks a tenth
    value, low, high = measured(alarms).share
    assert value == 0.1
    assert 0.01 < low < 0.08 < 0.12 < high < 0.25


def test_alarms_in_a_known_fault_do_not_count():
    alarms = np.zeros((DEVICES, HOURS), bool)
    alarms[0, 10:14] = alarms[1, 40:80] = True
    label = np.zeros_like(alarms)
    label[1, 30:90] = True
    rate = measured(alarms, label)
    assert (rate.episodes, rate.rows) == (1, DEVICES * HOURS - 60)
    assert alarm_rate(*only_faults(), make_contract(LABEL)) is None


def only_faults() -> tuple[Rows, np.ndarray]:
    frame = frame_of(np.ones((1, 9), bool), np.ones((1, 9), bool))
    return rows_of(frame), np.ones(9, bool)
