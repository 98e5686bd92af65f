"""Average precision is that of scikit-learn, whose import costs more than all other tests of it."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from breezeway.detector import scorecard


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_average_precision_is_that_of_scikit_learn(decimals):
    generator = np.random.default_rng(decimals)
    label = generator.random(3000) < 0.1
    score = np.round(label * 0.2 + generator.random(3000), decimals)
    assert scorecard.average_precision(label, score) == pytest.approx(
        average_precision_score(label, score), abs=1e-12
    )
