"""Rows without labels are cut into stretches that are held out in turn."""

import numpy as np
import pytest

from breezeway.core.errors import DataError
from breezeway.detector.presumed import fit_presumed, normal_folds
from breezeway.detector.scorecard import Rows
from tests.fixtures.unlabelled import make_contract

CONTRACT = make_contract()
HOUR = 3_600_000_000


def rows_of(hours: list[int]) -> Rows:
    count = len(hours)
    nothing, device = np.zeros(count, bool), np.zeros(count, int)
    first = np.arange(count) == 0
    return Rows(first, device, np.array(hours) * HOUR, nothing, np.arange(count), np.array(["m"]))


def test_each_row_is_scored_once_by_a_fit_without_its_neighbours():
    rows = rows_of(list(range(30)))
    folds = normal_folds(rows, CONTRACT)
    assert len(folds) == CONTRACT.split.folds
    assert sorted(np.concatenate([fold.scored for fold in folds])) == list(range(30))
    for fold in folds:
        apart = np.abs(fold.fit[:, None] - fold.scored).min()
        assert apart == CONTRACT.window


@pytest.mark.parametrize("hours", [[5] * 30, [1] * 28 + [2, 3]])
def test_readings_of_the_same_moment_are_one_stretch(hours):
    rows = rows_of(hours)
    folds = normal_folds(rows, CONTRACT)
    assert sorted(np.concatenate([fold.scored for fold in folds])) == list(range(30))
    with pytest.raises(DataError, match="at least 20 are needed"):
        fit_presumed(
            np.ones((30, 4), np.float32), rows, CONTRACT, "mahalanobis distance", threads=1
        )
