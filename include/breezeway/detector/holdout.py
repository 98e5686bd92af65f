"""Which readings a model may learn from, so that it can be evaluated on the others.

The contract holds out a part of every dataset: the newest readings, or whole devices. Tuning and
training see the rest. A model records what it was trained on, so every later evaluation can leave
out the readings that it knows. With `[train] refit` the model that serves knows them all.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.days import day_of, day_start
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.scorecard import Rows

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TrainingScope:
    """The readings that a model has seen.

    Args:
        until: int, microseconds since 1970, UTC: the model saw readings before this time.
        devices: the devices that it saw; None for all.
    """

    until: int
    devices: frozenset[str] | None = None

    def covers(self, device: Any, time: Any) -> np.ndarray:
        """Which readings the model has seen.

        Args:
            device, time: a column each of shape (rows,).

        Returns:
            bool (rows,).
        """
        seen = scorecard.microseconds(time) < self.until
        if self.devices is not None:
            seen &= np.isin(np.asarray(device).astype(str), sorted(self.devices))
        return seen

    @property
    def until_text(self) -> str:
        """ISO 8601, UTC."""
        return datetime.fromtimestamp(self.until / 1_000_000, UTC).isoformat()

    def to_json(self) -> str:
        devices = None if self.devices is None else sorted(self.devices)
        return json.dumps({"until": self.until_text, "devices": devices})

    @classmethod
    def from_json(cls, text: str) -> "TrainingScope":
        document = json.loads(text)
        until = round(datetime.fromisoformat(document["until"]).timestamp() * 1_000_000)
        devices = document["devices"]
        return cls(until, None if devices is None else frozenset(devices))


def training_scope(rows: Rows, contract: Contract) -> TrainingScope:
    """Hold out the contract's part of rows from training.

    Args:
        rows: the labelled rows of a dataset.

    Returns:
        By time: all rows before the newest share, or before the newest days. By device: all
        devices but that share; the same share of the devices with events is held out.

    Raises:
        DataError: there are too few days or devices to hold any out.
    """
    holdout = contract.split.holdout
    if isinstance(holdout, timedelta):
        return _before_the_newest_days(rows, holdout.days, contract.zone)
    if contract.split.by == "time":
        place = int(len(rows.time) * (1 - holdout))
        return TrainingScope(int(np.sort(rows.time)[place]))
    present = np.flatnonzero(np.bincount(rows.device, minlength=len(rows.names)))
    with_event = np.bincount(rows.device, weights=rows.label, minlength=len(rows.names)) > 0
    kept_back: set[str] = set()
    for group in (present[with_event[present]], present[~with_event[present]]):
        names = sorted(rows.names[group].tolist(), key=_digest)
        kept_back.update(names[: round(len(names) * holdout)])
    trained = frozenset(rows.names[present].tolist()) - kept_back
    if not kept_back or not trained:
        raise DataError(
            f"split.holdout: {len(present)} devices are too few to keep {holdout:.0%} of them back"
        )
    return TrainingScope(int(rows.time.max()) + 1, trained)


def whole_scope(rows: Rows, contract: Contract) -> TrainingScope:
    """Hold out nothing: all rows, and by device all devices that are there."""
    until = int(rows.time.max()) + 1
    if contract.split.by == "time":
        return TrainingScope(until)
    present = np.flatnonzero(np.bincount(rows.device, minlength=len(rows.names)))
    return TrainingScope(until, frozenset(rows.names[present].tolist()))


def _before_the_newest_days(rows: Rows, days: int, zone: ZoneInfo) -> TrainingScope:
    """The last day counts, even if it is not over yet."""
    first, last = (
        day_of(_EPOCH + timedelta(microseconds=int(time)), zone)
        for time in (rows.time.min(), rows.time.max())
    )
    until = last + timedelta(days=1) - timedelta(days=days)
    if until <= first:
        raise DataError(
            f"split.holdout: {days} days cannot be kept back from a dataset of "
            f"{(last - first).days + 1} days; more days, or a shorter holdout, are needed"
        )
    return TrainingScope((day_start(until, zone) - _EPOCH) // timedelta(microseconds=1))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
