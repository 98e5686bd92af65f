"""Folds: rows to fit on and rows to score, so that no row is scored by a model that saw it."""

import hashlib
from typing import NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.scorecard import Rows


class Fold(NamedTuple):
    """Rows that a model is fitted on and rows that it is scored on, as row numbers."""

    fit: np.ndarray
    scored: np.ndarray


def split(rows: Rows, contract: Contract) -> list[Fold]:
    """Cut rows into folds so that no row is scored by a model that saw it or its neighbours.

    `by = "device"`: every device is scored once, by a model fitted on other devices. The folds get
    about equally many positive rows, and about equally many rows.

    `by = "time"`: time is cut into folds + 1 periods of about equally many rows. Each period is
    scored by a model fitted on the periods before it; the first is never scored. Two kinds of rows
    are left out of the fit: rows within one feature window before the cut, because they share
    readings with the rows after it, and rows of an event that continues at the cut.

    Returns:
        Folds in which the rows to fit on have both classes. The rows to score may have one.

    Raises:
        DataError: no fold has both classes in its rows to fit on.
    """
    cut = _split_by_device if contract.split.by == "device" else _split_by_time
    folds = [
        fold
        for fold in cut(rows, contract)
        if len(fold.scored) and 0 < rows.label[fold.fit].sum() < len(fold.fit)
    ]
    if not folds:
        raise DataError(
            f'split: by = "{contract.split.by}" with {contract.split.folds} folds leaves no fold '
            "whose rows to fit on hold both classes; more data or fewer folds are needed."
        )
    return folds


def _split_by_device(rows: Rows, contract: Contract) -> list[Fold]:
    folds = contract.split.folds
    size = np.bincount(rows.device, minlength=len(rows.names))
    positive = np.bincount(rows.device, weights=rows.label, minlength=len(rows.names))
    digest = [hashlib.sha256(name.encode()).digest() for name in rows.names.tolist()]
    dealt = sorted(
        np.flatnonzero(size), key=lambda device: (-positive[device], -size[device], digest[device])
    )
    fold_of = np.zeros(len(rows.names), dtype=int)
    fold_size, fold_positive = np.zeros(folds), np.zeros(folds)
    for device in dealt:
        # lexsort sorts by its last key first. Devices without an event balance the sizes.
        even_out = fold_positive if positive[device] else np.zeros(folds)
        fold = np.lexsort((fold_size, even_out))[0]
        fold_of[device] = fold
        fold_size[fold] += size[device]
        fold_positive[fold] += positive[device]
    fold = fold_of[rows.device]
    return [Fold(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def _split_by_time(rows: Rows, contract: Contract) -> list[Fold]:
    stretches = contract.split.folds + 1
    places = np.arange(1, stretches) * len(rows.time) // stretches
    cuts = np.sort(rows.time)[places]
    stretch = np.searchsorted(cuts, rows.time, side="right")
    purge = int(contract.window * contract.interval_seconds * 1_000_000)
    begins = scorecard.event_starts(rows)
    event = np.cumsum(begins) - 1
    last_positive = np.full(int(begins.sum()), np.iinfo(np.int64).min)
    np.maximum.at(last_positive, event[rows.label], rows.time[rows.label])
    event_end = np.where(rows.label, last_positive[event], rows.time)
    folds = []
    for k, cut in enumerate(cuts, start=1):
        fit = (rows.time < cut - purge) & (event_end < cut)
        folds.append(Fold(np.flatnonzero(fit), np.flatnonzero(stretch == k)))
    return folds
