"""What earlier scores do to a score: each option by hand, all of them against a plain loop."""

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from breezeway.contract.alarm import Alarm
from breezeway.detector import model
from breezeway.detector.fitting import fit_detector
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.score_filter import ages_of, filtered
from breezeway.detector.scoring import ScoringModel
from tests.fixtures.plant import plant_contract


def of_one_run(scores: list[float], **options: float) -> list[float]:
    alarm = Alarm.model_validate(options)
    return filtered(np.array(scores), np.arange(len(scores)), alarm).tolist()


def test_without_an_option_a_score_stays_as_it_is():
    assert of_one_run([0.1, 0.9, 0.3]) == [0.1, 0.9, 0.3]


def test_the_mean_is_of_the_last_readings_or_of_as_many_as_there_are():
    assert of_one_run([1.0, 0.0, 0.5, 0.25], mean_readings=3) == [1.0, 0.5, 0.5, 0.25]


def test_an_alarm_with_on_delay_waits_for_so_many_readings():
    scores = [0.9, 0.1, 0.8, 0.9, 0.7, 0.2]
    assert of_one_run(scores, on_delay_readings=2) == [0, 0, 0.1, 0.1, 0.7, 0.2]


def test_an_alarm_is_held_until_the_score_is_below_its_part_of_the_threshold():
    held = of_one_run([0.1, 0.8, 0.5, 0.45, 0.3, 0.5], release=0.5, hold_readings=4)
    assert [score >= 0.8 for score in held] == [False, True, True, True, False, False]
    assert [score >= 0.5 for score in held] == [False, True, True, True, True, True]


def test_an_alarm_is_held_for_so_many_readings_at_most():
    held = of_one_run([0.9, 0.6, 0.6, 0.6, 0.6], release=0.5, hold_readings=2)
    assert [score >= 0.9 for score in held] == [True, True, True, False, False]


def test_a_gap_and_another_device_begin_anew():
    contract = plant_contract(window="window = 10\nmax_gap_seconds = 120")
    device = np.array([0, 0, 0, 0, 1, 1])
    minutes = np.array([0, 1, 3, 6, 0, 1])
    assert ages_of(device, minutes * 60_000_000, contract).tolist() == [0, 1, 2, 0, 0, 1]
    assert ages_of(device, minutes * 60_000_000, plant_contract()).tolist() == [0, 1, 2, 3, 0, 1]


def in_alarm(scores: list[float], alarm: Alarm, threshold: float) -> bool:
    """Whether the last of a run's readings is in alarm, as one would say it in words."""

    def mean(last: int) -> float:
        some = scores[max(0, last + 1 - alarm.mean_readings) : last + 1]
        return sum(reversed(some)) / len(some)

    def begins(place: int) -> bool:
        first = place - alarm.on_delay_readings
        return first >= 0 and all(mean(n) >= threshold for n in range(first, place + 1))

    last = len(scores) - 1
    for since in range(last, max(-1, last - (alarm.hold_readings or 0) - 1), -1):
        stayed = range(since + 1, last + 1)
        if begins(since) and all(mean(n) / alarm.release >= threshold for n in stayed):
            return True
    return False


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=1, max_size=30),
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([None, 0.25, 0.5, 0.75]),
    st.integers(1, 5),
    st.floats(0.1, 1),
)
def test_a_reading_is_in_alarm_as_the_options_say_in_words(
    scores, mean_readings, on_delay, release, hold, threshold
):
    alarm = Alarm(
        mean_readings=mean_readings,
        on_delay_readings=on_delay,
        release=release,
        hold_readings=hold if release else None,
    )
    found = filtered(np.array(scores), np.arange(len(scores)), alarm)
    assert [score >= threshold for score in found.tolist()] == [
        in_alarm(scores[: n + 1], alarm, threshold) for n in range(len(scores))
    ]
    tail = scores[-1 - alarm.lookback :]
    assert filtered(np.array(tail), np.arange(len(tail)), alarm)[-1] == found[-1]


def test_a_table_in_any_order_gets_the_same_scores(table):
    text = "mean_readings = 3\nrelease = 0.7\nhold_readings = 4"
    contract = plant_contract(false_episodes_per_day=f"false_episodes_per_day = 2\n{text}")
    fitted = fit_detector(table, contract, model.DEFAULT_PARAMS, 5, threads=1)
    scoring = ScoringModel(
        OnnxScorer(fitted.model.to_onnx()), contract, 0.5, [], TrainingScope(until=0, devices=None)
    )
    generator = np.random.default_rng(0)
    columns = table.features[generator.permutation(len(table.features))[:60]].T.astype(np.float64)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    readings = pa.table(
        {
            "device": ["mill-2"] * 30 + ["mill-1"] * 30,
            "time": [at + timedelta(minutes=n % 30) for n in range(60)],
            **dict(zip(contract.feature_names, columns, strict=True)),
        }
    )
    scores = scoring.score_readings(readings)
    raw = scoring.score(columns.T)
    expected = [filtered(part, np.arange(30), contract.alarm) for part in (raw[:30], raw[30:])]
    assert scores.tolist() == np.concatenate(expected).tolist() != raw.tolist()
    shuffled = generator.permutation(60)
    assert scoring.score_readings(readings.take(shuffled)).tolist() == scores[shuffled].tolist()


@pytest.mark.parametrize("wrong", [{"release": 0.5}, {"hold_readings": 3}])
def test_release_and_hold_go_together(wrong):
    with pytest.raises(ValueError, match="expected release and hold_readings together"):
        Alarm.model_validate(wrong)
