"""What is drift and what is a plant's usual day."""

import numpy as np
import pytest

from breezeway.drift import decision
from tests.fixtures.presses import found, plant, reference_hours


def test_quiet_days_are_no_drift_though_each_row_by_itself_is_unlikely():
    # A test that took rows for independent would find each of these.
    assert [seed for seed in range(1, 4) if found(plant(1, seed, first_day=14))] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda device, value: value + 6, (None, "level")),
        (lambda device, value: value + 12 * (device == "press-3"), ("press-3", "level")),
        (lambda device, value: value.mean() + 5 * (value - value.mean()), (None, "spread")),
        (lambda device, value: np.where(np.arange(144) % 2, np.nan, value), (None, "missing")),
    ],
)
def test_what_has_changed_is_named(change, expected):
    findings = found(plant(3, 1, change, first_day=14))
    assert expected in findings
    if expected[0]:
        assert {device for device, _ in findings} <= {None, expected[0]}


def test_what_is_sure_but_too_small_to_matter_is_left_out():
    def constant(level: float):
        return lambda device, value: level + np.tile([-1.0, 1.0], 72) + 1e-6 * value

    reference = reference_hours(plant(14, 0, constant(0.0)))
    assert found(plant(3, 1, constant(0.1), first_day=14), reference) == set()
    assert (None, "level") in found(plant(3, 1, constant(0.5), first_day=14), reference)


def test_a_finding_reads_as_a_sentence():
    finding = decision.Finding("oil", "press-3", "level", 1.5, 1e-6)
    assert str(finding) == "oil of press-3 is +1.50 standard deviations from its level (p = 1e-06)"


def test_findings_are_confirmed_by_column_and_device():
    def finding(column, device, change="level"):
        return decision.Finding(column, device, change, 1.0, 1e-6)

    before = [[finding("oil", "a")], [], [finding("oil", "a"), finding("oil", None)]]
    tonight = [finding("oil", "a", "spread"), finding("oil", None), finding("gas", "a")]
    assert decision.confirmed([*before, tonight], 0) == tonight
    assert decision.confirmed([*before, tonight], 1) == tonight[:2]
    assert decision.confirmed([*before, tonight], 2) == tonight[:1]
    assert decision.confirmed([*before, []], 0) == []
