"""Principal components: T² within the components that explain the rows, and Q, what they leave.

Q is the squared prediction error (SPE). Jackson and Mudholkar, "Control procedures for residuals
associated with principal component analysis", 1979; both in one index: Yue and Qin,
"Reconstruction-based fault identification using a combined index", 2001.
"""

import numpy as np

from breezeway.detector.families.quadratic import QuadraticForm, symmetric_root
from breezeway.detector.families.robust_scaling import Spread

EXPLAINED = 0.9
"""The share of the variance that the components explain."""


def fit_principal_components(spread: Spread) -> QuadraticForm:
    """Fit them on rows of which some per cent may be faults.

    T² counts by its number of components, and Q by its mean, so that both are 1 on the average of
    normal rows. Works badly, as any linear model, where features depend on each other in curves.

    Args:
        spread: of these rows, standardized.
    """
    eigenvalues, vectors = np.linalg.eigh(spread.covariance)
    falling = np.argsort(-eigenvalues, kind="stable")
    variance, vectors = np.maximum(eigenvalues[falling], 1e-12), vectors[:, falling]
    explained = np.cumsum(variance) / variance.sum()
    count = min(int(np.searchsorted(explained, EXPLAINED)) + 1, max(1, len(variance) - 1))
    weight = np.empty(len(variance))
    weight[:count] = 1 / (variance[:count] * count)
    weight[count:] = 1 / max(variance[count:].sum(), 1e-12)
    root = symmetric_root((vectors * weight) @ vectors.T, spread.varies)
    return QuadraticForm(spread.center, root)
