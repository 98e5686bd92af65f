"""scikit-learn: one thread, and its parameters checked."""

import math
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from breezeway.core.errors import DataError


@cache
def one_thread() -> None:
    """Have the libraries of linear algebra sum up in one order, however many cores there are."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")


def learn(estimator: Any, values: np.ndarray, label: np.ndarray) -> Any:
    """Fit an estimator; return it."""
    one_thread()
    with warnings.catch_warnings():
        # A search tries parameters by which it takes longer than it is given.
        warnings.filterwarnings("ignore", module="sklearn")
        return estimator.fit(values, label)


def refuse_others(family: str, params: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse parameters that are none of a family.

    Raises:
        DataError: there is one.
    """
    if others := sorted(set(params) - set(own)):
        raise DataError(f"{family}: {others[0]} is none of its parameters: {', '.join(own)}.")


def number(family: str, params: Mapping[str, Any], name: str) -> float:
    """Return a parameter that has to be a number above 0.

    Raises:
        DataError: it is none.
    """
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(f"{family}: {name} is {value!r}, expected a number above 0.")
    return float(value)
