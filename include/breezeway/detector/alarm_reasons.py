"""Which sensors make the alarms of a period: how often each field is the first reason."""

from typing import NamedTuple

import numpy as np

from breezeway.detector.explanation import Explainer

MOST_ALARMS = 2000
"""Explained, evenly taken of all: a figure for people needs no more."""


class FieldReasons(NamedTuple):
    """A field as a reason for alarms.

    Args:
        first: the share of all explained alarms in which it is the first reason.
        right, false: the same of alarms in an event, and of alarms in normal time; None if none is
            explained.
        share: its mean share of what raised the score.
    """

    field: str
    first: float
    right: float | None
    false: float | None
    share: float


class AlarmReasons(NamedTuple):
    """The reasons for the alarms of a period.

    Args:
        alarms: readings in alarm; of more than `MOST_ALARMS`, so many are explained.
        fields: those that are a reason of any, the one that is the first most often first.
    """

    alarms: int
    explained: int
    fields: list[FieldReasons]


def alarm_reasons(explainer: Explainer, rows: np.ndarray, label: np.ndarray) -> AlarmReasons:
    """Explain many alarms.

    Args:
        rows: float64 or float32 (alarms, features), of the readings in alarm; NaN is missing.
        label: (alarms,): 1 in an event, 0 in normal time, NaN where that is not known.
    """
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), MOST_ALARMS)).astype(int)
    if not len(chosen):
        return AlarmReasons(0, 0, [])
    share = explainer.shares(rows[chosen])
    first = np.zeros(share.shape, dtype=bool)
    first[np.arange(len(share)), share.argmax(axis=1)] = True
    first &= share > 0
    right, false = label[chosen] == 1, label[chosen] == 0
    fields = [
        FieldReasons(
            field,
            float(first[:, place].mean()),
            float(first[right, place].mean()) if right.any() else None,
            float(first[false, place].mean()) if false.any() else None,
            float(share[:, place].mean()),
        )
        for place, field in enumerate(explainer.sources)
        if share[:, place].any()
    ]
    fields.sort(key=lambda each: (-each.first, -each.share))
    return AlarmReasons(len(rows), len(chosen), fields)
