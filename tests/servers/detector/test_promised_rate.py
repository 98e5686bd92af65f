"""A threshold without labels keeps the promised rate of false episodes, on months it never saw."""

import numpy as np
import pytest

from breezeway.core.errors import DataError
from breezeway.detector.families.registry import BOOSTED_TREES
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.presumed import (
    PresumedDetector,
    Stretch,
    fit_presumed,
    normal_folds,
    presumed_normal,
)
from breezeway.detector.promised_rate import promised_threshold
from breezeway.detector.scorecard import Rows, false_episode_starts, horizon_seconds
from tests.fixtures.plant import plant_contract

FAMILY = "mahalanobis distance"
INTERVAL = 3600.0
DAYS, DEVICES = 30, 12
HORIZON = horizon_seconds(INTERVAL)
DAY = 86_400


def contract_of(budget: float | None, by: str = "device", share: float = 0.05):
    contract = plant_contract()
    alarm = contract.alarm.model_copy(
        update={"false_episodes_per_day": budget, "max_alarm_share": share}
    )
    split = contract.split.model_copy(update={"by": by, "folds": 3})
    return contract.model_copy(
        update={"alarm": alarm, "split": split, "interval_seconds": INTERVAL}
    )


WIDTH = len(contract_of(None).feature_names)
FOLLOWS = np.random.default_rng(9).normal(size=(3, WIDTH))


def rows_of(devices: int, count: int) -> Rows:
    number = np.tile(np.arange(count), devices)
    device = np.repeat(np.arange(devices), count)
    time = (number * INTERVAL * 1e6).astype(np.int64)
    nothing = np.zeros(len(number), dtype=bool)
    names = np.array([f"m{place:02}" for place in range(devices)])
    return Rows(number == 0, device, time, nothing, np.arange(len(number)), names)


def autocorrelated(seed: int, devices: int, count: int, width: int) -> np.ndarray:
    """Float64 (rows, width): each value is nine tenths of the one before, and chance."""
    values = np.random.default_rng(seed).normal(size=(count, devices, width))
    for place in range(1, count):
        values[place] = 0.9 * values[place - 1] + np.sqrt(1 - 0.81) * values[place]
    return values.swapaxes(0, 1).reshape(devices * count, width)


def asset_months(seed: int, devices: int = DEVICES, days: int = DAYS) -> tuple[np.ndarray, Rows]:
    """Three things that vary, and features that follow them; a reading an hour."""
    count = int(days * DAY / INTERVAL)
    varying = autocorrelated(seed, devices, count, 3 + WIDTH)
    features = varying[:, :3] @ FOLLOWS + 0.5 * varying[:, 3:]
    return features.astype(np.float32), rows_of(devices, count)


def per_day(rows: Rows, score: np.ndarray, threshold: float) -> float:
    episodes = len(false_episode_starts(rows, score >= threshold, HORIZON))
    return episodes / (len(score) * INTERVAL / DAY)


@pytest.fixture(scope="module")
def detector() -> PresumedDetector:
    features, rows = asset_months(0)
    return fit_presumed(features, rows, contract_of(0.1), FAMILY, threads=1)


@pytest.fixture(scope="module")
def scorer(detector) -> OnnxScorer:
    return OnnxScorer(detector.model.to_onnx())


def test_the_promise_is_kept_on_other_months(detector, scorer):
    features, rows = asset_months(1)
    realised = per_day(rows, scorer.score(features), detector.promise.choice.threshold)
    assert 0.5 <= realised / 0.1 <= 1.5
    assert detector.promise.per_day == pytest.approx(0.1, rel=0.1)
    assert not detector.promise.extrapolated


def test_on_few_days_the_promise_is_extrapolated_and_kept_on_the_average():
    """Ten days of two devices allow two episodes: too few to read a rate off."""
    contract, ratios = contract_of(0.1), []
    fresh = 1 / (1 + np.exp(-autocorrelated(99, 40, 720, 1)[:, 0]))
    for seed in range(12):
        score = 1 / (1 + np.exp(-autocorrelated(seed, 2, 240, 1)[:, 0]))
        promise = promised_threshold(rows_of(2, 240), score, contract)
        assert promise.extrapolated and promise.per_day == pytest.approx(0.1)
        assert promise.choice.low < promise.choice.threshold < promise.choice.high
        ratios.append(per_day(rows_of(40, 720), fresh, promise.choice.threshold) / 0.1)
    assert 0.5 <= np.mean(ratios) <= 1.5


def test_neighbouring_readings_do_not_count_as_many():
    """The same readings four times as often: as many episodes, and the same threshold."""
    contract, rows = contract_of(0.1), rows_of(12, 720)
    score = 1 / (1 + np.exp(-autocorrelated(3, 12, 720, 1)[:, 0]))
    once = promised_threshold(rows, score, contract)
    often = rows_of(12, 4 * 720)
    often = often._replace(time=(often.time / 4).astype(np.int64))
    quarter = contract.model_copy(update={"interval_seconds": INTERVAL / 4})
    wide = promised_threshold(often, np.repeat(score, 4), quarter)
    # The horizon of an episode is ten readings, so it is shorter; half the rate is no more.
    assert abs(np.log(wide.choice.threshold / once.choice.threshold)) < 0.05


@pytest.fixture(scope="module")
def month() -> tuple[np.ndarray, Rows, np.ndarray]:
    features, rows = asset_months(2)
    broken = rows.device == 4
    features[broken, 2] += 10
    return features, rows, broken


class TestAFaultOfAMonth:
    """One device of twelve is broken for the whole of the next month."""

    def in_alarm_on_day_30(self, detector, month) -> float:
        features, rows, broken = month
        last = broken & (rows.time >= 29 * DAY * 1_000_000)
        score = OnnxScorer(detector.model.to_onnx()).score(features[last])
        assert len(score) == 24
        return float((score >= detector.promise.choice.threshold).mean())

    def test_it_is_in_alarm_on_day_30(self, detector, month):
        assert self.in_alarm_on_day_30(detector, month) == 1

    @pytest.mark.parametrize("by", ["device", "time"])
    def test_it_is_in_alarm_still_if_that_month_is_learned_from(self, month, by):
        features, rows, _ = month
        again = fit_presumed(features, rows, contract_of(0.1, by), FAMILY, threads=1)
        assert self.in_alarm_on_day_30(again, month) == 1

    def test_what_is_named_is_neither_learned_from_nor_calibrated_on(self, month):
        features, rows, broken = month
        named = [Stretch("m04", 0, 30 * DAY * 1_000_000)]
        again = fit_presumed(features, rows, contract_of(0.1), FAMILY, stretches=named, threads=1)
        assert (again.learned == ~broken).all()
        others = fit_presumed(
            features[~broken], rows.where(~broken), contract_of(0.1), FAMILY, threads=1
        )
        assert again.model.to_bytes() == others.model.to_bytes()
        assert again.promise == others.promise


def test_a_stretch_ends_before_its_end_and_may_be_of_all_devices():
    rows = rows_of(2, 4)
    hour = 3_600_000_000
    assert presumed_normal(rows, [Stretch("m01", hour, 3 * hour)]).tolist() == [True] * 5 + [
        False,
        False,
        True,
    ]
    assert presumed_normal(rows, [Stretch(None, 0, hour)]).tolist() == [False, True, True, True] * 2


def test_the_share_of_time_in_alarm_is_a_limit_too():
    score = autocorrelated(5, 12, 720, 1)[:, 0] / 20 + 0.5
    rows, contract = rows_of(12, 720), contract_of(None, share=0.02)
    promise = promised_threshold(rows, score, contract)
    share = (score >= promise.choice.threshold).reshape(12, 720).mean(axis=1)
    assert np.median(share) == pytest.approx(0.02, abs=0.005)
    score[:720] = 0.99  # one device is broken
    again = promised_threshold(rows, score, contract)
    assert again.choice.threshold == pytest.approx(promise.choice.threshold, abs=0.01)


def test_scores_that_are_all_the_same_give_no_alarm():
    score = np.full(100, 0.25)
    assert promised_threshold(rows_of(1, 100), score, contract_of(1)).choice.threshold > 0.25


@pytest.mark.parametrize("by", ["device", "time"])
def test_each_row_is_held_out_once_and_none_is_scored_by_what_saw_its_window(by):
    rows, contract = rows_of(4, 90), contract_of(0.1, by)
    folds = normal_folds(rows, contract)
    assert np.sort(np.concatenate([fold.scored for fold in folds])).tolist() == list(range(360))
    for fold in folds:
        apart = np.abs(rows.time[fold.fit][:, None] - rows.time[fold.scored][None, :])
        same = rows.device[fold.fit][:, None] == rows.device[fold.scored][None, :]
        assert not (same & (apart < contract.window * INTERVAL * 1e6)).any()


def test_what_cannot_be_learned_from_is_refused():
    features, rows = asset_months(6, devices=1, days=1)
    with pytest.raises(DataError, match="it learns from labels, and there are none"):
        fit_presumed(features, rows, contract_of(0.1), BOOSTED_TREES, threads=1)
    everything = [Stretch(None, 0, 10**15)]
    with pytest.raises(DataError, match="0 rows cannot be cut into 3 folds"):
        fit_presumed(features, rows, contract_of(1), FAMILY, stretches=everything, threads=1)
    nothing = rows.where(np.zeros(24, dtype=bool))
    with pytest.raises(DataError, match="no held-out row is presumed normal"):
        promised_threshold(nothing, np.empty(0), contract_of(1))
