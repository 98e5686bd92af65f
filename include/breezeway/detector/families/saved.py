"""Reads arrays from the JSON of a saved model, which may be damaged."""

from typing import Any

import numpy as np


def array(value: Any, *shape: int, missing: bool = False) -> np.ndarray:
    """Return float64 of a shape.

    Args:
        missing: whether NaN may stand in it.

    Raises:
        ValueError, TypeError: it is none, or not finite.
    """
    found = np.array(value, np.float64)
    if found.size == 0 and 0 in shape:
        return np.zeros(shape)
    if found.shape != shape:
        raise ValueError(f"shape {found.shape}, expected {shape}")
    if np.isinf(found).any() or (not missing and np.isnan(found).any()):
        raise ValueError("a number is not finite")
    return found


def positions(value: Any, below: int) -> np.ndarray:
    """Return int64 (positions,), each from 0 and below a limit.

    Raises:
        ValueError, TypeError: they are none.
    """
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise ValueError("positions are no list of whole numbers")
    if not all(0 <= each < below for each in value):
        raise ValueError(f"a position is not below {below}")
    return np.array(value, np.int64)
