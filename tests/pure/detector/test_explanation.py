"""An alarm names the sensors that made it: planted faults, both sides, and what adds up."""

from collections import Counter
from datetime import date

import numpy as np
import pytest

from breezeway.detector.explanation import Explainer, shap_values
from breezeway.detector.usual import usual_of
from tests.fixtures.planted import Planter, features_of, fitted_on, plant_contract, plant_days

AT_FAULT = ("temperature", "pressure", "vibration")
PLANTED = 500


@pytest.fixture(scope="module")
def contract():
    return plant_contract()


@pytest.fixture(scope="module")
def fitted(contract):
    return fitted_on(contract, plant_days(4, date(2026, 1, 5), 5, seed=3))


@pytest.fixture(scope="module")
def explainer(contract, fitted):
    table, booster, _ = fitted
    return Explainer(booster, contract, usual_of(table, contract))


@pytest.fixture(scope="module")
def planter(contract):
    return Planter(contract, plant_days(4, date(2026, 2, 2), 1, seed=3), seed=1)


@pytest.fixture(scope="module")
def alarms(contract, fitted, planter):
    """The sensor at fault, and the features, of 500 alarms."""
    _, booster, threshold = fitted
    faults = [AT_FAULT[number % 3] for number in range(2 * PLANTED)]
    windows = [planter.window(fault) for fault in faults]
    rows = features_of(contract, windows)[contract.window - 1 :: contract.window]
    (alarm,) = np.nonzero(booster.inplace_predict(rows) >= threshold)
    assert len(alarm) >= PLANTED
    return [faults[number] for number in alarm[:PLANTED]], rows[alarm[:PLANTED]]


def test_a_planted_fault_is_named_first_and_among_three(explainer, alarms):
    faults, rows = alarms
    order = np.argsort(-explainer.shares(rows), axis=1)
    named = [[explainer.sources[place] for place in places[:3]] for places in order]
    first = np.mean([fields[0] == fault for fields, fault in zip(named, faults, strict=True)])
    among = np.mean([fault in fields for fields, fault in zip(named, faults, strict=True)])
    print(f"\nof {len(faults)}: first {first:.1%}, among three {among:.1%}, {Counter(faults)}")
    assert first >= 0.95
    assert among >= 0.99


def test_contributions_add_up_to_the_score(fitted, explainer, alarms):
    _, booster, _ = fitted
    rows = alarms[1][:50]
    base = shap_values(booster, rows)[:, -1]
    margin = booster.inplace_predict(rows, predict_type="margin")
    np.testing.assert_allclose(
        explainer.contributions(rows).sum(axis=1) + base, margin, rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(explainer.shares(rows).sum(axis=1), 1)
