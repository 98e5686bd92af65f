"""XGBoost: a fast import, matrices to learn from, and the parameters that all boosters share."""

import os
import sys
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


def matrix(
    features: np.ndarray, label: np.ndarray, names: list[str], threads: int
) -> xgb.QuantileDMatrix:
    """Bin rows for a booster to learn from.

    Args:
        features: float32 (rows, features); NaN is missing.
        label: bool (rows,).
    """
    return xgb.QuantileDMatrix(features, label=label, feature_names=names, nthread=threads)


def booster_params(params: dict[str, Any], label: np.ndarray, threads: int) -> dict[str, Any]:
    """Return XGBoost's parameters: the given ones, and those that all models here have.

    Positive rows are few, so they get a weight: together they weigh as much as the normal rows.
    """
    positive = max(1, int(label.sum()))
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "scale_pos_weight": (len(label) - positive) / positive,
        "seed": SEED,
        "nthread": threads,
        "verbosity": 0,
        **params,
    }
