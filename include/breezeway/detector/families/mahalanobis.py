"""Mahalanobis' distance: from the middle of the rows, measured by how features vary together."""

import numpy as np

from breezeway.detector.families.quadratic import QuadraticForm, symmetric_root
from breezeway.detector.families.robust_scaling import Spread


def fit_mahalanobis(spread: Spread) -> QuadraticForm:
    """Fit it on rows of which some per cent may be faults.

    Works badly where normal operation has several modes that lie apart: the middle is in none.

    Args:
        spread: of these rows, standardized.
    """
    precision = np.linalg.inv(spread.covariance)
    return QuadraticForm(spread.center, symmetric_root(precision, spread.varies))
