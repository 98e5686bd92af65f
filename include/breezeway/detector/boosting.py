"""XGBoost: its import, the matrices that it learns from, the parameters that all boosters share."""

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

SEED = 20260101


def _import_xgboost() -> ModuleType:
    """Import XGBoost, and not what it can do without.

    Where scikit-learn is installed XGBoost imports it for its classes in that style, and with it
    pandas and scipy.stats: more than two seconds of processor time in every step and every worker,
    for nothing that is used here. XGBoost has no switch for that (`xgboost.compat` tries the import
    and goes on without), so scikit-learn is hidden from it for that moment: `None` is what makes
    Python say that there is no such module. tests/pure/detector/test_boosting.py fails when an
    upgrade needs another way.
    """
    # OpenMP reads this when XGBoost loads it: threads that wait sleep. Spinning, two threads on
    # two busy cores took ten times the processor time.
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
    """Return XGBoost's parameters: those given, on top of what every model here has.

    Positive rows are few; they weigh as much as the normal ones together.
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
