"""A score is a probability where so many of the readings with it are positive."""

import numpy as np
import pytest

from breezeway.detector.calibration import BINS, calibration


def test_scores_that_are_probabilities_have_no_error():
    generator = np.random.default_rng(0)
    score = generator.random(100_000)
    label = generator.random(100_000) < score
    found = calibration(label, score)
    assert found.expected_error < 0.01
    assert found.brier == pytest.approx(1 / 6, abs=0.005)
    assert found.rows.sum() == 100_000
    assert found.share == pytest.approx((np.arange(BINS) + 0.5) / BINS, abs=0.02)


def test_the_error_is_weighted_by_rows():
    label = np.array([1, 0, 0, 0, 1], bool)
    score = np.array([0.55, 0.55, 0.95, 0.95, 1.0])
    found = calibration(label, score)
    assert found.rows.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    assert found.expected_error == pytest.approx((2 * 0.05 + 3 * (2.9 / 3 - 1 / 3)) / 5)
    assert found.brier == pytest.approx(np.mean((score - label) ** 2))
    assert np.isnan(found.share[0]) and found.share[9] == pytest.approx(1 / 3)
