"""The scaling that makes scores probabilities, beside scikit-learn's logistic regression."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from breezeway.detector.platt_scaling import fit_platt_scaling


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_a_logistic_regression_on_log_odds(seed):
    generator = np.random.default_rng(seed)
    odds = generator.normal(-2, 2, 50_000)
    label = generator.random(50_000) < 1 / (1 + np.exp(-(0.6 * odds - 1)))
    theirs = LogisticRegression(C=np.inf, tol=1e-8).fit(odds[:, None], label)
    ours = fit_platt_scaling(label, 1 / (1 + np.exp(-odds)))
    # Ours has labels that are slightly less than certain.
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], rel=2e-3)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=2e-3)
