"""A whole detector, and how it is judged on rows that it did not see."""

import logging

import numpy as np
import pytest

from breezeway.contract.contract import Contract, load_contract
from breezeway.detector.clock import LEARNED_CLOCK, clock_scores
from breezeway.detector.fitting import fit_detector, judge_unseen
from breezeway.detector.folds import split
from breezeway.detector.model import DEFAULT_PARAMS, OutOfFold
from breezeway.detector.scorecard import BASELINES
from breezeway.detector.table import Table, read_table
from tests.fixtures.plant import make_plant


def clock_of(table: Table, contract: Contract) -> OutOfFold:
    return clock_scores(table, split(table.rows, contract), threads=1)


def test_by_device_every_row_is_judged_by_a_threshold_of_other_rows(tmp_path):
    folder = make_plant(tmp_path / "dataset", by="device", devices=5, readings=500)
    contract = load_contract(folder / "contract.toml")
    table = read_table(folder, contract)
    fitted = fit_detector(table, contract, DEFAULT_PARAMS, 20, threads=1)
    found = judge_unseen(table, contract, fitted.scores, clock_of(table, contract))
    assert found.judged.all()
    assert len(np.unique(found.thresholds)) == contract.split.folds
    assert set(found.cards) == {"model", *BASELINES, LEARNED_CLOCK}
    assert found.cards["model"].rows == len(table.rows.label)


def test_with_one_fold_the_detectors_own_threshold_judges_and_that_is_said(tmp_path, caplog):
    folder = make_plant(tmp_path / "dataset", devices=3, readings=1500)
    text = (folder / "contract.toml").read_text().replace("folds = 3", "folds = 2")
    contract = Contract.from_text(text, "contract.toml")
    table = read_table(folder, contract)
    rows = table.rows  # without an event in the first stretch, nothing is fitted on it alone
    late = rows.time > np.quantile(rows.time, 0.34)
    table = table._replace(rows=rows._replace(label=rows.label & late))
    fitted = fit_detector(table, contract, DEFAULT_PARAMS, 5, threads=1)
    with caplog.at_level(logging.WARNING):
        found = judge_unseen(table, contract, fitted.scores, clock_of(table, contract))
    assert "one fold only" in caplog.text
    scored = fitted.scores.fold >= 0
    assert (found.judged == scored).all()
    assert (found.thresholds[scored] == fitted.threshold).all()


@pytest.mark.parametrize("rounds", [2, 5])
def test_the_same_rows_give_the_same_detector(tmp_path, rounds):
    folder = make_plant(tmp_path / "dataset", devices=3, readings=500)
    contract = load_contract(folder / "contract.toml")
    table = read_table(folder, contract)
    once, again = (fit_detector(table, contract, DEFAULT_PARAMS, rounds, 1) for _ in range(2))
    assert once.model.to_bytes() == again.model.to_bytes()
    assert once.threshold == again.threshold
    assert once.model.booster.num_boosted_rounds() == rounds
