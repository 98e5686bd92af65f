"""Thresholds that keep what the contract says, on scores of models that saw fewer rows."""

import numpy as np

from breezeway.contract.contract import load_contract
from breezeway.detector import model, scorecard
from breezeway.detector.table import read_table
from breezeway.detector.thresholds import choose_threshold, honest_thresholds, threshold_curve
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
