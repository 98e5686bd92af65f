"""Without labels a night counts alarms, and compares them with the promise."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from breezeway.drift import night
from breezeway.pipeline.nightly_findings import judge_quality, too_many_false_alarms
from tests.fixtures.unlabelled import LABEL, make_contract

CONTRACT = make_contract()
HOURS = 24 * 10
RATE = 0.01


def batch_of(alarms: int) -> pa.RecordBatch:
    """Ten days of one device, with so many alarms, each by itself."""
    at = np.datetime64("2026-03-02", "us") + np.arange(HOURS) * np.timedelta64(1, "h")
    score = np.zeros(HOURS)
    score[5 : 5 + 20 * alarms : 20] = 0.9
    return pa.record_batch(
        {
            "device": ["oven-1"] * HOURS,
            "time": pa.array(at).cast(pa.timestamp("us", "UTC")),
            "label": pa.nulls(HOURS, pa.int8()),
            "score": score,
        }
    )


def quality(alarms: int, contract=CONTRACT):
    return judge_quality(SimpleNamespace(contract=contract, threshold=0.5), [batch_of(alarms)])


def test_all_readings_count_as_normal_and_their_alarms_are_told():
    found = quality(4).figures()
    assert found == {
        "rows": HOURS,
        "alarm_episodes": 4,
        "alarm_share": pytest.approx(4 / HOURS),
        "device_days": 10,
    }
    (page,) = night._quality(found)
    assert "240 readings: 4 alarm episodes in 10 days of a device" in page
    assert "precision, recall and F1 cannot be judged" in page


def test_with_labels_in_the_contract_readings_without_one_say_nothing():
    assert quality(4, make_contract(LABEL)) is None


def test_more_alarms_than_promised_are_a_finding():
    assert not too_many_false_alarms(quality(2), None, CONTRACT, RATE)  # one is promised
    (found,) = too_many_false_alarms(quality(9), None, CONTRACT, RATE)
    assert found.column == "false alarms"
