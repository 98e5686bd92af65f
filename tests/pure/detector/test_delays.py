"""The delays over false alarms are those of a scorecard at each threshold."""

import numpy as np
import pytest

from breezeway.detector.delays import delay_curve
from breezeway.detector.scorecard import scorecard
from breezeway.detector.thresholds import threshold_curve
from tests.fixtures.plant import plant_contract, rows_from

CONTRACT = plant_contract("device")


def test_each_point_is_that_of_a_scorecard():
    generator = np.random.default_rng(1)
    label = np.zeros((3, 300), bool)
    for device, start in ((0, 20), (0, 200), (1, 120), (2, 0), (2, 270)):
        label[device, start : start + 30] = True
    rows = rows_from(label)
    score = generator.random(900) * 0.6 + 0.4 * generator.random(900) * rows.label
    curve = threshold_curve(rows, score, CONTRACT)
    found = delay_curve(rows, score, curve, 60)
    frame = {
        "device": rows.names[rows.device],
        "time": rows.time.astype("datetime64[us]"),
        "label": rows.label,
        "score": score,
    }
    for place in range(len(curve.threshold)):
        card = scorecard(frame, curve.threshold[place], 60)
        assert found.found[place] == card.events_hit / 5
        assert found.prompt[place] == card.events_hit_promptly / 5
        if card.events_hit:
            expected = (card.median_delay_seconds, card.p90_delay_seconds)
            soon = (found.median_seconds[place], found.p90_seconds[place])
            assert soon == pytest.approx(expected)
        else:
            assert np.isnan(found.median_seconds[place])
    assert found.false_per_day == pytest.approx(curve.effects.false_episodes / (900 / 1440))
    assert 0 < found.found[-1] <= 1


def test_without_an_event_there_is_no_curve():
    rows = rows_from(np.zeros((1, 50), bool))
    curve = threshold_curve(rows, np.arange(50.0), CONTRACT)
    assert delay_curve(rows, np.arange(50.0), curve, 60) is None
