"""Which readings a model may learn from, so that it can be evaluated on the others.

The contract holds out a share of every dataset: the newest readings, or whole devices. Tuning and
training see the rest. A model records what it was trained on, so every later evaluation can leave
out the readings that it knows.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.scorecard import Rows


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

    def to_json(self) -> str:
        until = datetime.fromtimestamp(self.until / 1_000_000, UTC).isoformat()
        devices = None if self.devices is None else sorted(self.devices)
        return json.dumps({"until": until, "devices": devices})

    @classmethod
    def from_json(cls, text: str) -> "TrainingScope":
        document = json.loads(text)
        until = round(datetime.fromisoformat(document["until"]).timestamp() * 1_000_000)
        devices = document["devices"]
        return cls(until, None if devices is None else frozenset(devices))


def training_scope(rows: Rows, contract: Contract) -> TrainingScope:
    """Hold out the contract's share of rows from training.

    Args:
        rows: the labelled rows of a dataset.

    Returns:
        By time: all rows before the newest share. By device: all devices but that share; the same
        share of the devices with events is held out.

    Raises:
        DataError: there are too few devices to hold any out.
    """
    if contract.split.by == "time":
        place = int(len(rows.time) * (1 - contract.split.holdout))
        return TrainingScope(int(np.sort(rows.time)[place]))
    present = np.flatnonzero(np.bincount(rows.device, minlength=len(rows.names)))
    with_event = np.bincount(rows.device, weights=rows.label, minlength=len(rows.names)) > 0
    kept_back: set[str] = set()
    for group in (present[with_event[present]], present[~with_event[present]]):
        names = sorted(rows.names[group].tolist(), key=_digest)
        kept_back.update(names[: round(len(names) * contract.split.holdout)])
    trained = frozenset(rows.names[present].tolist()) - kept_back
    if not kept_back or not trained:
        raise DataError(
            f"split.holdout: {len(present)} devices are too few to keep "
            f"{contract.split.holdout:.0%} of them back"
        )
    return TrainingScope(int(rows.time.max()) + 1, trained)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
