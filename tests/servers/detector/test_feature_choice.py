"""Candidates that tell of faults are kept; noise, clocks and what is too dear are not."""

import numpy as np
import pytest

from breezeway.contract.candidates import explicit
from breezeway.contract.contract import Contract
from breezeway.detector import feature_choice
from breezeway.detector.feature_choice import (
    KEPT,
    TELLS_TIME,
    TOO_DEAR,
    TOO_SMALL,
    FeatureChoice,
    choose_features,
    of_contract,
)
from breezeway.detector.table import Table, labelled_table
from tests.fixtures.candidates import FAULT, READINGS, auto_contract, faults, rows_of, values_of

CLOCK_FAULTS = ((200, 230), (500, 640), (800, 830))
"""At the same age of every device."""


def choose(table: Table, contract: Contract, cost: int = 50) -> FeatureChoice:
    return choose_features(table, contract, lambda groups: 100 + cost * len(groups), 2)


def table_of(kind: str, by: str = "device") -> tuple[Table, Contract]:
    contract, label = auto_contract(by), faults()
    return labelled_table(rows_of(contract, values_of(kind, label), label), contract), contract


@pytest.fixture(scope="module")
def of_load() -> tuple[Table, Contract, FeatureChoice]:
    table, contract = table_of("load", "time")
    return table, contract, choose(table, contract)


def test_what_only_a_group_can_see_is_kept(of_load):
    table, contract, choice = of_load
    assert choice.kept[0] == "residuals given torque"
    assert choice.after > choice.before + 0.2
    first = choice.groups[0]
    assert first.verdict == KEPT
    assert 0 < first.low < first.gain < first.high
    assert "temperature_mean_3_residual" in first.features
    assert choice.variants > len(choice.groups)
    assert not choice.contract.features.auto
    assert choice.contract.features.residual.given == ["torque", "torque_mean_3"]
    own = of_contract(table, contract, choice.contract).features
    place = choice.contract.feature_names.index("torque_mean_3")
    np.testing.assert_array_equal(
        own[:, place], table.features[:, contract.feature_names.index("torque_mean_3")]
    )


def test_rows_that_are_held_out_have_no_say(of_load):
    """And the same rows give the same choice, gains and all."""
    table, contract, choice = of_load
    label = faults()
    held_out = slice(int(READINGS * 0.8) + 1, None)
    values = values_of("load", label)
    for column in values.values():
        column[:, held_out] = np.random.default_rng(9).normal(size=column[:, held_out].shape)
    label[:, held_out] = 1 - label[:, held_out]
    other = labelled_table(rows_of(contract, values, label), contract)
    assert len(other.features) == len(table.features)
    assert choose(other, contract) == choice._replace(contract=other_contract(choice))


def other_contract(choice: FeatureChoice) -> Contract:
    return Contract.from_text(choice.contract.text, "again")


def test_noise_is_not_kept():
    """Faults of single readings, which no other reading tells of."""
    contract = auto_contract()
    label = (np.random.default_rng(3).random(faults().shape) < 0.05).astype(np.int8)
    values = values_of("noise", label)
    choice = choose(labelled_table(rows_of(contract, values, label), contract), contract)
    assert choice.kept == []
    assert {tried.verdict for tried in choice.groups} == {TOO_SMALL}
    assert choice.variants == 1 + len(choice.groups)
    assert choice.after == choice.before > 0.3
    assert choice.contract.feature_names == explicit(auto_contract()).feature_names


def test_what_only_tells_the_age_of_a_device_is_not_kept():
    contract, label = auto_contract(), np.zeros_like(faults())
    for start, end in CLOCK_FAULTS:
        label[:, start:end] = 1
    values = values_of("clock", label)
    choice = choose(labelled_table(rows_of(contract, values, label), contract), contract)
    assert choice.kept == []
    verdicts = {tried.name: tried for tried in choice.groups}
    assert verdicts["long windows"].verdict == TELLS_TIME
    assert verdicts["long windows"].gain > 0.03


def test_a_gain_below_its_price_is_not_kept(monkeypatch, of_load):
    table, contract, _ = of_load
    monkeypatch.setattr(feature_choice, "PRICE", 0.1)
    choice = choose(table, contract)
    assert choice.kept == []
    assert choice.groups[0].verdict == TOO_DEAR


def test_with_few_events_nothing_is_tried(caplog):
    contract, label = auto_contract(), faults()
    label[:, 90 + FAULT :] = 0
    rows = rows_of(contract, values_of("load", label), label)
    choice = choose(labelled_table(rows, contract), contract)
    assert (choice.groups, choice.variants, choice.kept) == ([], 0, [])
    assert "events to judge by, at least 10 are expected" in choice.why_none
    assert choice.why_none in caplog.text
