"""A model of the simulated plant names the sensor at which a fault was planted."""

import json
from collections import Counter
from datetime import date

import numpy as np
import pytest

from breezeway.detector.alarm_reasons import MOST_ALARMS, alarm_reasons
from breezeway.detector.covers import MOST_ROWS, count_rows
from breezeway.detector.explanation import Explainer
from breezeway.detector.families.registry import BOOSTED_TREES
from breezeway.detector.families.trees import TreeModel
from breezeway.detector.usual import usual_of
from tests.fixtures.planted import (
    Planter,
    features_of,
    fitted_on,
    plant_contract,
    plant_days,
    predicted,
)

AT_FAULT = ("temperature", "pressure", "vibration")
PLANTED = 500


@pytest.fixture(scope="module")
def contract():
    return plant_contract()


@pytest.fixture(scope="module")
def fitted(contract):
    return fitted_on(contract, plant_days(4, date(2026, 1, 5), 7, seed=3))


@pytest.fixture(scope="module")
def explainer(contract, fitted):
    table, booster, _ = fitted
    model = TreeModel(BOOSTED_TREES, booster)
    return Explainer(model, contract, usual_of(table, contract, model.residuals))


@pytest.fixture(scope="module")
def planter(contract):
    return Planter(contract, plant_days(4, date(2026, 2, 2), 1, seed=3), seed=1)


@pytest.fixture(scope="module")
def alarms(contract, fitted, planter):
    """The sensor at fault, and the features, of 500 alarms."""
    _, booster, threshold = fitted
    faults = [AT_FAULT[number % 3] for number in range(PLANTED * 8 // 5)]
    windows = [planter.window(fault) for fault in faults]
    rows = features_of(contract, windows)[contract.window - 1 :: contract.window]
    (alarm,) = np.nonzero(predicted(booster, rows) >= threshold)
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


def test_what_is_told_of_a_planted_fault_is_unusual_and_names_it(explainer, alarms):
    faults, rows = alarms
    told = [explainer.reasons(row) for row in rows]
    usual = [reasons for reasons in told if any(reason.is_usual for reason in reasons)]
    beside = [reasons for reasons in told if any(reason.given for reason in reasons)]
    named = [[reason.field for reason in reasons[:3]] for reasons in told]
    first = np.mean([fields[0] == fault for fields, fault in zip(named, faults, strict=True)])
    among = np.mean([fault in fields for fields, fault in zip(named, faults, strict=True)])
    print(f"\nfirst {first:.1%}, among three {among:.1%}, usual {len(usual)}, given {len(beside)}")
    assert first >= 0.95
    assert among >= 0.99
    # Warm for its load alone: this is what those alarms were usual in.
    assert len(beside) >= 0.05 * PLANTED
    assert len(usual) <= 0.01 * PLANTED
    for reasons in usual:
        assert [reason.field for reason in reasons if reason.is_usual] == [reasons[0].field]
    given = next(reason for reasons in beside for reason in reasons if reason.given)
    assert given.given == ("rotational_speed", "torque")
    assert given.sentence.endswith(" at this rotational_speed and torque")


def test_a_report_tells_which_sensors_make_the_alarms(explainer, alarms):
    faults, rows = alarms
    # As if alarms by the pressure alone were right.
    label = np.array([fault == "pressure" for fault in faults], dtype=float)
    label[:10] = np.nan
    found = alarm_reasons(explainer, rows, label)
    assert (found.alarms, found.explained) == (PLANTED, PLANTED)
    assert {field.field for field in found.fields[:3]} == set(AT_FAULT)
    assert sum(field.first for field in found.fields) == pytest.approx(1)
    of = {field.field: field for field in found.fields}
    assert of["pressure"].right > 0.9
    assert of["pressure"].false < 0.05
    many = alarm_reasons(explainer, np.tile(rows, (5, 1)), np.full(5 * PLANTED, np.nan))
    assert (many.alarms, many.explained) == (5 * PLANTED, MOST_ALARMS)
    assert {(field.right, field.false) for field in many.fields} == {(None, None)}
    assert alarm_reasons(explainer, rows[:0], label[:0]).fields == []


def test_contributions_add_up_to_the_score(fitted, explainer, alarms):
    _, booster, _ = fitted
    rows = alarms[1][:50]
    base = TreeModel(BOOSTED_TREES, booster).parts(rows)[:, -1]
    margin = predicted(booster, rows, "margin")
    np.testing.assert_allclose(
        explainer.contributions(rows).sum(axis=1) + base, margin, rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(explainer.shares(rows).sum(axis=1), 1)


def test_covers_count_readings_and_change_no_score(contract, fitted):
    table, booster, _ = fitted
    saved = json.loads(bytes(booster.save_raw("json")))
    trees = saved["learner"]["gradient_booster"]["model"]["trees"]
    seen = len(table.features[:: -(-len(table.features) // MOST_ROWS)])
    assert [round(tree["sum_hessian"][0]) for tree in trees] == [seen] * 100
    again = count_rows(booster, table.features[:100], threads=1)
    rows = table.features[:1000]
    assert predicted(again, rows).tolist() == predicted(booster, rows).tolist()


def test_the_side_that_lowers_a_score_is_no_reason(contract, fitted, explainer, planter):
    _, booster, threshold = fitted
    fields = [AT_FAULT[number % 3] for number in range(300)]
    windows = [planter.window(field, side=-1) for field in fields]
    rows = features_of(contract, windows)[contract.window - 1 :: contract.window]
    assert np.mean(predicted(booster, rows) >= threshold) < 0.03
    places = [explainer.sources.index(field) for field in fields]
    raised = explainer.contributions(rows)[np.arange(300), places]
    print(f"\nraised {np.mean(raised > 0):.1%}, clearly {np.mean(raised > 0.5):.1%}")
    assert np.mean(raised > 0.5) < 0.03


def test_what_is_usual_is_of_the_normal_readings(contract, fitted, explainer):
    table, _, _ = fitted
    residuals = TreeModel(BOOSTED_TREES, fitted[1]).residuals
    usual = usual_of(table, contract, residuals)
    column = table.features[~table.rows.label, contract.feature_names.index("pressure")]
    expected = np.quantile(column.astype(float), (0.05, 0.5, 0.95))
    np.testing.assert_allclose(usual.ranges["pressure"], expected, rtol=1e-5)
    assert usual.words == {"mode": ("idle", "normal", "boost")}
    assert set(usual.residuals) == set(contract.features.residual.of)
    rows = residuals.beside(table.features)[~table.rows.label, len(contract.feature_names)]
    name = contract.feature_names[residuals.of[0]]
    expected = np.quantile(rows.astype(float), (0.05, 0.5, 0.95))
    np.testing.assert_allclose(usual.residuals[name], expected, rtol=1e-4)
