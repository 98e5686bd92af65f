"""The metrics of ranges against the values of their authors' code, and on several devices.

The values are those of tsb-ad 1.5 (PyPI), `generate_curve(label, score, window, "opt", 250)` and
`pr_from_events(..., (0, 400))`, computed apart from this project: tsb-ad wants NumPy below 2.
"""

import numpy as np
import pytest

from breezeway.detector.range_metrics import affiliation, vus_pr
from breezeway.detector.scorecard import Rows
from tests.fixtures.plant import rows_from

LABEL = np.zeros(400, bool)
for start, end in ((60, 90), (150, 170), (300, 345), (395, 400)):
    LABEL[start:end] = True
SCORE = np.round(
    (np.arange(400) * 37 % 101) / 101 + 0.6 * np.convolve(LABEL, np.ones(9) / 9, "same"), 3
)
ROWS = rows_from(LABEL[None, :])


@pytest.mark.parametrize(
    ("tolerance", "expected"),
    [(0, 0.7931256994485216), (10, 0.8302673573114601), (60, 0.8944578463135676)],
)
def test_vus_pr_is_that_of_its_authors(tolerance, expected):
    assert vus_pr(ROWS, SCORE, tolerance) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.8, (0.6939956270390178, 0.99459966004652)),
        (1.2, (0.9921717171717171, 0.7452497092503131)),
        (1.4, (1.0, 0.7195308306494901)),
    ],
)
def test_affiliation_is_that_of_its_authors(threshold, expected):
    assert affiliation(ROWS, threshold <= SCORE) == pytest.approx(expected, abs=1e-12)


def test_without_an_alarm_there_is_no_precision_and_without_an_event_no_figure():
    assert affiliation(ROWS, SCORE > 9) == (None, 0.0)
    normal = rows_from(np.zeros((2, 5), bool))
    assert affiliation(normal, np.ones(10, bool)) is None
    assert vus_pr(normal, np.ones(10), 3) is None


def of_devices(order: list[int]) -> tuple[Rows, np.ndarray]:
    """An event at the end of one device, and at the start of another; alarms just beyond."""
    label, score = np.zeros((3, 40), bool), np.arange(120.0).reshape(3, 40) / 120
    label[0, 30:], label[1, :10], label[1, 20:25] = True, True, True
    score[2, :5] += 2
    score[2, -5:] += 2
    score[0, 25:] += 1
    return rows_from(label[order]), score[order].ravel()


def test_what_stands_beside_a_device_does_not_matter():
    one, other = of_devices([0, 1, 2]), of_devices([0, 2, 1])
    assert vus_pr(*one, 20) == pytest.approx(vus_pr(*other, 20), abs=1e-12)
    beside = [affiliation(rows, score > 0.9) for rows, score in (one, other)]
    assert beside[0] == pytest.approx(beside[1], abs=1e-12)
