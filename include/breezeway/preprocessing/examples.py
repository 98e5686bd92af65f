"""Recorded readings with their features, with which a model server checks a deployment."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.statistics import LONGEST

EXAMPLE_DEVICES = 16
"""The most devices with examples."""


def example_devices(names: Sequence[str]) -> Sequence[str]:
    """Some evenly spaced names, in order."""
    return names[:: max(1, -(-len(names) // EXAMPLE_DEVICES))]


class Examples:
    """The last complete window of each device, and the last one in an event.

    Args:
        window: readings that a score needs.
        devices: the devices to record.
        carried: how old values may be that are carried into a window.
        lookback: how many of the readings before the last are scored, too.
    """

    def __init__(
        self,
        window: int,
        devices: Collection[str],
        carried: timedelta | None = None,
        lookback: int = 0,
    ):
        self.devices = devices
        self._window, self._carried, self._lookback = window, carried, lookback
        self._recorded: dict[tuple[str, str], dict[str, Any]] = {}

    def record(
        self,
        device: str,
        block: pa.Table,
        rows: np.ndarray,
        label: pa.Array,
        features: np.ndarray,
        is_continued: bool,
    ) -> None:
        """Check the good readings of one device in a block.

        A window that started in an earlier block is incomplete here, and would have other
        features.

        Args:
            block: readings with time and payload.
            rows: int (readings,): those of the device, in order.
            label: int8 (readings,).
            features: float64 (readings, features).
            is_continued: whether an earlier block had readings of the device.
        """
        event = pc.equal(label, 1).fill_null(False).to_numpy(zero_copy_only=False)
        ends = {"normal": len(rows)}
        if event.any():
            ends["event"] = int(np.flatnonzero(event)[-1]) + 1
        for kind, end in ends.items():
            start = self._start(block, rows, end)
            is_whole = start > 0 or (end == self._window and not self._carried)
            if (is_continued and not is_whole) or end - start > LONGEST:
                continue
            window = pa.array(rows[start:end])
            readings = block.select(["time", "payload"]).take(window).to_pylist()
            before = features[max(0, end - 1 - self._lookback) : end - 1]
            self._recorded[(device, kind)] = {
                "device": device,
                "readings": [
                    {"time": _utc_text(reading["time"]), "payload": reading["payload"]}
                    for reading in readings
                ],
                "features": _plain(features[end - 1]),
                **({"before": [_plain(row) for row in before]} if self._lookback else {}),
            }

    def _start(self, block: pa.Table, rows: np.ndarray, end: int) -> int:
        """The place of the first reading that features may depend on."""
        start = max(0, end - self._window)
        if self._carried is None:
            return start
        times = block["time"].take(pa.array(rows[:end])).to_numpy()
        since = times[start] - np.timedelta64(self._carried)
        return int(np.searchsorted(times, since))

    def in_order(self) -> list[dict[str, Any]]:
        """By device; its event before its normal readings."""
        return [self._recorded[key] for key in sorted(self._recorded)]


def _plain(row: np.ndarray) -> list[float | None]:
    return [None if np.isnan(x) else x for x in row.tolist()]


def _utc_text(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat() + "Z"
