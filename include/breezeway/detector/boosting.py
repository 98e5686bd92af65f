"""XGBoost: a fast import, matrices to learn from, and the parameters that all boosters share."""

import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

SEED = 20260101


def _import_xgboost() -> ModuleType:
    """Import XGBoost without the optional packages that it would import.

    If scikit-learn is installed, XGBoost imports it, and with it pandas and scipy.stats. That costs
    more than two seconds of CPU in every step and every worker, and nothing here uses it. XGBoost
    has no switch for this: `xgboost.compat` tries the import and continues without it. So
    scikit-learn is hidden during the import: because of `None` in `sys.modules`, Python says that
    there is no such module. tests/servers/detector/test_boosting.py fails when an upgrade needs
    another way.
    """
    # OpenMP reads this when XGBoost loads it: waiting threads sleep. When they spin, two threads
    # on two busy cores take ten times the CPU.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    hidden = "sklearn" not in sys.modules
    if hidden:
        cast("dict[str, ModuleType | None]", sys.modules)["sklearn"] = None
    try:
        import xgboost
    finally:
        if hidden:
            del sys.modules["sklearn"]
    return xgboost


if TYPE_CHECKING:
    import xgboost

    xgb = xgboost
else:
    xgb = _import_xgboost()


FINE_BINS, COARSE_BINS = 4096, 256
FINE_ROWS = 12_000
"""Up to so many rows, a feature has the fine bins: a limit that a machine fails at may lie within a
coarse one. Fine bins take up to ten times the CPU, and gain nothing where readings are many and
noisy: docs/decisions/boosting-bins.md."""


def bins_for(rows: int) -> int:
    """The most bins of a feature, for a table of so many rows."""
    return FINE_BINS if rows <= FINE_ROWS else COARSE_BINS


def matrix(
    features: np.ndarray,
    label: np.ndarray,
    names: list[str],
    threads: int,
    max_bin: int = COARSE_BINS,
) -> xgb.QuantileDMatrix:
    """Bin rows for a booster to learn from.

    Args:
        features: float32 (rows, features); NaN is missing.
        label: bool (rows,).
        max_bin: the booster's own.
    """
    return xgb.QuantileDMatrix(
        features, label=label, feature_names=names, nthread=threads, max_bin=max_bin
    )


def booster_params(
    params: dict[str, Any],
    monotone: Mapping[str, str],
    label: np.ndarray,
    threads: int,
    seed: int = SEED,
) -> dict[str, Any]:
    """Return XGBoost's parameters: the given ones, and those that all models here have.

    Parameters tuned before `scale_pos_weight` was one of them leave it out, and keep what they were
    tuned with: the positive rows together weigh as much as the normal ones.

    Args:
        monotone: "increasing" or "decreasing", by feature: what the score does with it.
    """
    fixed = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "scale_pos_weight": balancing_weight(label),
        "seed": seed,
        "nthread": threads,
        "verbosity": 0,
    }
    if monotone:
        fixed["monotone_constraints"] = {
            name: 1 if direction == "increasing" else -1 for name, direction in monotone.items()
        }
    return {**fixed, **params}


def balancing_weight(label: np.ndarray) -> float:
    """The weight of a positive row with which all of them weigh as much as the normal rows."""
    positive = max(1, int(label.sum()))
    return (len(label) - positive) / positive
