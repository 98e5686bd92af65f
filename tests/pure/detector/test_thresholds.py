"""Thresholds that keep what the contract says, on scores of models that saw fewer rows."""

import numpy as np

from breezeway.contract.contract import load_contract
from breezeway.detector import model, scorecard
from breezeway.detector.table import read_table
from breezeway.detector.thresholds import (
    Effects,
    choose_threshold,
    honest_thresholds,
    threshold_curve,
)
from tests.fixtures.plant import make_plant, plant_contract, rows_from


def chosen_threshold(rows, score, contract) -> float:
    return choose_threshold(threshold_curve(rows, score, contract), contract).threshold


def false_a_day(rows, score, threshold) -> float:
    horizon = scorecard.horizon_seconds(60)
    days = len(score) * 60 / 86400
    return len(scorecard.false_episode_starts(rows, score >= threshold, horizon)) / days


def test_budget_is_kept_and_used(table, scores):
    known = scores.fold >= 0
    rows, score = table.rows.where(known), scores.score[known]
    threshold = chosen_threshold(rows, score, plant_contract())
    assert false_a_day(rows, score, threshold) <= 2
    lower = np.sort(score[score < threshold])[-len(score) // 20]
    assert false_a_day(rows, score, lower) > 2


def test_always_on_is_no_way_to_keep_a_budget():
    """Always in alarm is one episode, which overlaps an event: no false one at all."""
    generator = np.random.default_rng(0)
    label = np.zeros((1, 3000), dtype=int)
    label[0, 1000:1050] = 1
    rows = rows_from(label)
    score = generator.random(3000)
    threshold = chosen_threshold(rows, score, plant_contract())
    assert (score >= threshold).mean() < 0.05


def test_costs_weigh_missed_events_against_false_episodes():
    label = np.zeros((2, 500), dtype=int)
    label[0, 100:110] = label[1, 300:310] = 1
    score = np.zeros((2, 500))
    score[0, 105], score[1, 305] = 0.9, 0.4
    score[0, [200, 250, 300]] = 0.6

    def chosen(missed: float) -> float:
        costs = f"missed_event_cost = {missed}\nfalse_episode_cost = 1"
        contract = plant_contract(false_episodes_per_day=costs)
        return chosen_threshold(rows_from(label), score.ravel(), contract)

    assert chosen(2) == 0.9
    assert chosen(4) == 0.4


def alarm_of(*lines: str):
    return plant_contract(false_episodes_per_day="\n".join(lines))


def a_slow_fault() -> tuple[scorecard.Rows, np.ndarray]:
    """Four devices with a fault each that is at 0.5 at once and at 0.9 after half an hour, and one
    false episode at 0.5."""
    label = np.zeros((4, 500), dtype=int)
    label[:, 100:160] = 1
    score = np.zeros((4, 500))
    score[:, 100:130], score[:, 130:160] = 0.5, 0.9
    score[0, 300] = 0.5
    return rows_from(label), score.ravel()


COSTS = "missed_event_cost = 10", "false_episode_cost = 1"


def test_delay_has_its_price():
    rows, score = a_slow_fault()
    assert chosen_threshold(rows, score, alarm_of(*COSTS)) == 0.9
    assert chosen_threshold(rows, score, alarm_of(*COSTS, "delay_cost = 0.001")) == 0.9
    assert chosen_threshold(rows, score, alarm_of(*COSTS, "delay_cost = 0.1")) == 0.5


def test_a_missed_fault_is_late_by_its_whole_length():
    label = np.zeros((4, 500), dtype=int)
    label[:, 100:160] = 1
    score = np.zeros((4, 500))
    score[:, 159] = 0.5
    score[:, [200, 300, 400]] = 0.5
    rows, costs = rows_from(label), ("missed_event_cost = 1", "false_episode_cost = 1")
    assert chosen_threshold(rows, score.ravel(), alarm_of(*costs)) > 0.5
    # The last reading of a fault is one interval before its end.
    assert chosen_threshold(rows, score.ravel(), alarm_of(*costs, "delay_cost = 1.9")) > 0.5
    assert chosen_threshold(rows, score.ravel(), alarm_of(*costs, "delay_cost = 2.1")) == 0.5


def test_f1_weighs_readings_where_costs_weigh_events():
    """Half of each fault is at 0.5, as are as many normal readings, in one episode each."""
    label = np.zeros((4, 2000), dtype=int)
    label[:, 100:160] = 1
    score = np.zeros((4, 2000))
    score[:, 100], score[:, 101:160] = 0.9, 0.5
    score[:, 300:315] = 0.5
    rows = rows_from(label)
    assert chosen_threshold(rows, score.ravel(), alarm_of(*COSTS)) == 0.9
    assert chosen_threshold(rows, score.ravel(), alarm_of('maximize = "f1"')) == 0.5
    score[:, 300:390] = 0.5
    assert chosen_threshold(rows, score.ravel(), alarm_of('maximize = "f1"')) == 0.5
    stricter = alarm_of('maximize = "f1"', "max_alarm_share = 0.04")
    assert chosen_threshold(rows, score.ravel(), stricter) == 0.9


def test_without_an_alarm_section_f1_is_best_within_five_per_cent_of_normal_time():
    label = np.zeros((4, 2000), dtype=int)
    label[:, 100:160] = 1
    score = np.zeros((4, 2000))
    score[:, 100], score[:, 101:160], score[:, 300:390] = 0.9, 0.5, 0.5
    rows, nothing = rows_from(label), alarm_of()
    assert nothing.alarm.max_alarm_share == 0.05
    assert chosen_threshold(rows, score.ravel(), nothing) == 0.5
    score[:, 300:400] = 0.5
    assert chosen_threshold(rows, score.ravel(), nothing) == 0.9


def test_without_an_event_the_limits_alone_choose():
    score = np.linspace(0, 1, 2000)
    threshold = chosen_threshold(
        rows_from(np.zeros((4, 500), dtype=int)), score, alarm_of('maximize = "f1"')
    )
    assert 0.04 < (score >= threshold).mean() <= 0.05


def test_a_budget_limits_what_costs_would_choose():
    rows, score = a_slow_fault()
    budget = "false_episodes_per_day = 0.5"
    late = (*COSTS, "delay_cost = 0.1")
    assert chosen_threshold(rows, score, alarm_of(*late, budget)) == 0.9
    assert chosen_threshold(rows, score, alarm_of(*late, "false_episodes_per_day = 2")) == 0.5


def overlapping(seed: int) -> tuple[scorecard.Rows, np.ndarray]:
    """Thirty devices with a fault and three normal peaks each, the higher of which overlap."""
    generator = np.random.default_rng(seed)
    label = np.zeros((30, 250), dtype=int)
    label[:, 100:110] = 1
    score = generator.random((30, 250)) * 0.01
    score[:, 105] = expit(generator.normal(1.5, 1.5, 30))
    score[:, [150, 190, 230]] = expit(generator.normal(-1.5, 1.5, (30, 3)))
    return rows_from(label), score.ravel()


def expit(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


def test_like_data_get_like_thresholds():
    contract = alarm_of("missed_event_cost = 1", "false_episode_cost = 1")
    chosen, jumping = [], []
    for seed in range(16):
        curve = threshold_curve(*overlapping(seed), contract)
        choice = choose_threshold(curve, contract)
        assert choice.low <= choice.threshold <= choice.high
        chosen.append(choice.threshold)
        without = Effects(*(figure[:0] for figure in curve.resampled))
        jumping.append(choose_threshold(curve._replace(resampled=without), contract).threshold)
    assert np.std(chosen) < 0.85 * np.std(jumping)


def test_the_interval_narrows_with_more_data():
    def width(devices: int) -> float:
        rows, score = overlapping(3)
        kept = rows.device < devices
        contract = alarm_of("missed_event_cost = 1", "false_episode_cost = 1")
        choice = choose_threshold(
            threshold_curve(rows.where(kept), score[kept], contract), contract
        )
        return choice.high - choice.low

    assert width(4) > width(30) > 0


def test_a_budget_that_allows_nothing_gives_no_alarm():
    label = np.zeros((1, 100), dtype=int)
    label[0, 50:60] = 1
    score = np.zeros(100)
    score[10] = 1.0
    threshold = chosen_threshold(rows_from(label), score, plant_contract())
    assert threshold > 1.0


def test_a_score_of_two_values_does_not_end_in_endless_alarm():
    label = np.zeros((1, 100), dtype=int)
    label[0, 50:60] = 1
    score = np.where(label.ravel() == 1, 0.9, 0.1)
    assert chosen_threshold(rows_from(label), score, plant_contract()) == 0.9


def test_a_row_has_no_say_in_its_own_threshold(table, scores):
    thresholds = honest_thresholds(table.rows, scores, plant_contract())
    assert np.isnan(thresholds[scores.fold <= 0]).all()
    last = scores.fold == 2
    meddled = scores._replace(score=np.where(last, 1.0, scores.score))
    again = honest_thresholds(table.rows, meddled, plant_contract())
    np.testing.assert_array_equal(thresholds, again)
    assert len(set(thresholds[last])) == 1


def test_split_by_device_scores_every_row(tmp_path):
    folder = make_plant(tmp_path / "dataset", by="device", devices=4, readings=400)
    contract = load_contract(folder / "contract.toml")
    table = read_table(folder, contract)
    scores = model.out_of_fold(table, contract, model.DEFAULT_PARAMS, 5, 2)
    assert not np.isnan(scores.score).any()
    assert not np.isnan(honest_thresholds(table.rows, scores, contract)).any()
