"""Fault intervals by device, and the labels that they give to readings."""

import numpy as np
import pyarrow as pa

from breezeway.core.errors import DataError


class Intervals:
    """Label intervals by device: half open, from `start` to before `end`.

    Args:
        table: device, start and end (timestamps), in any order; they may overlap.
    """

    def __init__(self, table: pa.Table):
        starts = table["start"].cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
        ends = table["end"].cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
        edges: dict[str, list[tuple[int, int]]] = {}
        devices = table["device"].to_pylist()
        for row, (device, start, end) in enumerate(zip(devices, starts, ends, strict=True)):
            if device is None or start is None or end is None or end <= start:
                raise DataError(
                    f"labels row {row} (device {device!r}): expected a device and a start "
                    "before its end"
                )
            edges.setdefault(device, []).append((start, end))
        self._edges = {
            device: (
                np.sort([start for start, _ in pairs]),
                np.sort([end for _, end in pairs]),
            )
            for device, pairs in edges.items()
        }

    def label(self, device: str, times: np.ndarray) -> np.ndarray:
        """1 where a time (int64 microseconds) lies in an interval, else 0."""
        if device not in self._edges:
            return np.zeros(len(times), np.int8)
        starts, ends = self._edges[device]
        begun = np.searchsorted(starts, times, side="right")
        ended = np.searchsorted(ends, times, side="right")
        return (begun > ended).astype(np.int8)
