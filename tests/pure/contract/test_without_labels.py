"""A contract may have no labels; what says nothing without them is refused."""

import pickle

import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector.families.registry import families_of
from tests.fixtures.unlabelled import LABEL, make_contract, text_of


def edited(old: str, new: str, label: str = "") -> Contract:
    text = text_of(label)
    assert old in text
    return Contract.from_text(text.replace(old, new), "oven.toml")


BUDGET = "false_episodes_per_day = 0.1"
COSTS = "missed_event_cost = 9\nfalse_episode_cost = 1"


def test_without_the_section_there_are_no_labels():
    contract = make_contract()
    assert not contract.has_labels
    assert (contract.label.column, contract.label.table) == (None, None)
    assert make_contract(LABEL).has_labels
    assert not pickle.loads(pickle.dumps(contract)).has_labels


def test_an_empty_section_is_a_mistake_and_not_a_contract_without_labels():
    with pytest.raises(DataError, match="label: expected either column or table"):
        make_contract("\n[label]\n")


@pytest.mark.parametrize(
    ("new", "named"),
    [
        (f"{BUDGET}\n{COSTS}", "alarm.missed_event_cost: needs [label]"),
        (f"{BUDGET}\n{COSTS}", "alarm.false_episode_cost: needs [label]"),
        (f'{BUDGET}\nmaximize = "f1"', "alarm.maximize: needs [label]"),
        (f"{BUDGET}\n\n[gate]\nmax_loss = 0.1", "gate.max_loss: needs [label]"),
        (f"{BUDGET}\n\n[train]\nevery_labels = 9", "train.every_labels: only labels in a table"),
        (f'{BUDGET}\n\n[detector]\nfamilies = "auto"', 'detector.families: "auto" compares'),
        ("mean_readings = 2", "alarm: without [label] the threshold keeps to a promised rate"),
    ],
)
def test_what_needs_labels_is_refused_with_what_to_do(new, named):
    with pytest.raises(DataError) as error:
        edited(BUDGET, new)
    assert named in str(error.value)
    if "every_labels" not in new and "mean_readings" not in new:
        edited(BUDGET, new, LABEL)


def test_a_share_of_time_is_a_promise_too():
    assert edited(BUDGET, "max_alarm_share = 0.01").alarm.false_episodes_per_day is None


def test_the_family_is_one_that_needs_no_labels():
    assert families_of(make_contract()) == ["average distance"]
    assert families_of(make_contract(LABEL)) == ["boosted trees"]
    named = edited(BUDGET, f'{BUDGET}\n\n[detector]\nfamilies = ["nearest neighbours"]')
    assert families_of(named) == ["nearest neighbours"]
    with pytest.raises(DataError, match=r"'forest' learns from labels, and the contract has no"):
        families_of(edited(BUDGET, f'{BUDGET}\n\n[detector]\nfamilies = ["forest"]'))
