"""Readings to features: one definition, used by history and by a single request alike.

A statistic is a function of a matrix of windows, one window a row. History slides windows
over long columns block by block; a request makes the one window it needs. Each row is reduced
by itself, so both give the same bits.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from breezeway.contract import Contract
from breezeway.expressions import Vectors

BLOCK_ROWS = 4096
"""Windows made at once: small enough for the processor's cache."""


class Windows:
    """Trailing windows of one value.

    Args:
        matrix: float64 of shape (windows, readings), oldest first, C-contiguous. NaN stands
            for a missing value and, on the left, for readings before the device's first.
    """

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix
        self.valid = ~np.isnan(matrix)
        self.count = self.valid.sum(axis=1).astype(np.float64)

    def _sum(self, matrix: np.ndarray) -> np.ndarray:
        return np.where(self.valid, matrix, 0.0).sum(axis=1)

    @cached_property
    def mean(self) -> np.ndarray:
        return self._sum(self.matrix) / self.count

    @cached_property
    def centred(self) -> np.ndarray:
        return np.where(self.valid, self.matrix - self.mean[:, None], 0.0)

    @cached_property
    def variance(self) -> np.ndarray:
        return np.square(self.centred).sum(axis=1) / self.count

    def slope(self) -> np.ndarray:
        """Least-squares slope, per reading."""
        position = np.broadcast_to(np.arange(self.matrix.shape[1], dtype=float), self.valid.shape)
        offset = position - (self._sum(position) / self.count)[:, None]
        spread = self._sum(np.square(offset))
        rise = self._sum(offset * self.centred)
        return np.where(spread > 0, rise / spread, np.nan)

    def kurtosis(self) -> np.ndarray:
        """Fisher's excess: 0 for a normal distribution; NaN where nothing varies."""
        fourth = np.square(np.square(self.centred)).sum(axis=1) / self.count
        return np.where(self.variance > 0, fourth / np.square(self.variance) - 3, np.nan)


STATISTICS: dict[str, Callable[[Windows], np.ndarray]] = {
    "last": lambda w: w.matrix[:, -1],
    "mean": lambda w: w.mean,
    "std": lambda w: np.sqrt(w.variance),
    "min": lambda w: np.fmin.reduce(w.matrix, axis=1),
    "max": lambda w: np.fmax.reduce(w.matrix, axis=1),
    "slope": Windows.slope,
    "rms": lambda w: np.sqrt(w._sum(np.square(w.matrix)) / w.count),
    "kurtosis": Windows.kurtosis,
    "diff": lambda w: w.matrix[:, -1] - w.matrix[:, -2 if w.matrix.shape[1] > 1 else -1],
}
"""Over the values that are there; `std` is the population's; all NaN gives NaN."""


class History:
    """Features of readings that come in blocks, sorted by device and time.

    What a window needs of earlier blocks is carried over, so where a block ends changes
    nothing.
    """

    def __init__(self, contract: Contract):
        self._contract = contract
        self._device: str | None = None
        self._tail = {name: np.empty(0) for name in contract.features.rolling}

    def features(self, devices: Sequence[str], starts: np.ndarray, values: Mapping) -> np.ndarray:
        """Features of the next block.

        Args:
            devices: the name of each device in the block, in order.
            starts: int64 of shape (devices,): the row of each one's first reading.
            values: for each field float64 of shape (rows,), or `Vectors`.

        Returns:
            float64 of shape (rows, len(contract.feature_names)).
        """
        if not len(devices):
            return np.empty((0, len(self._contract.feature_names)))
        columns = {name: e(values) for name, e in self._contract.expressions.items()}
        rows = len(next(iter(columns.values())))
        first_of_row = np.repeat(starts, np.diff(starts, append=rows))
        goes_on = devices[0] == self._device
        out = np.empty((rows, len(self._contract.feature_names)))
        for position, name in enumerate(columns):
            out[:, position] = columns[name]
        position = len(columns)
        for name, wanted in self._contract.features.rolling.items():
            tail = self._tail[name] if goes_on else np.empty(0)
            into = out[:, position : position + len(wanted)]
            self._slide(columns[name], tail, first_of_row, wanted, into)
            position += len(wanted)
            of_last = columns[name][starts[-1] :]
            if len(starts) == 1:
                of_last = np.concatenate([tail, of_last])
            self._tail[name] = of_last[max(0, len(of_last) - self._contract.window + 1) :]
        self._device = devices[-1]
        return out

    def _slide(
        self,
        column: np.ndarray,
        tail: np.ndarray,
        first_of_row: np.ndarray,
        wanted: Sequence[str],
        out: np.ndarray,
    ) -> None:
        """Write the statistics of every trailing window of `column` into `out`."""
        width = self._contract.window
        before = width - 1
        padded = np.concatenate([np.full(before - len(tail), np.nan), tail, column])
        windows = np.lib.stride_tricks.sliding_window_view(padded, width)
        rows = np.arange(len(column))
        # What stands left of a device's first reading belongs to another device.
        foreign = before - (rows - first_of_row)
        foreign[first_of_row == 0] -= len(tail)
        lag = np.arange(width)
        for start in range(0, len(column), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            matrix = windows[block].copy()
            short = np.flatnonzero(foreign[block] > 0)
            if len(short):
                hide = lag < foreign[block][short, None]
                matrix[short] = np.where(hide, np.nan, matrix[short])
            for column_of, statistic in enumerate(wanted_statistics(matrix, wanted)):
                out[block, column_of] = statistic


def wanted_statistics(matrix: np.ndarray, wanted: Sequence[str]) -> list[np.ndarray]:
    windows = Windows(matrix)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return [STATISTICS[name](windows) for name in wanted]


def window_features(contract: Contract, readings: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Features of the last of one device's readings, for one request.

    Args:
        contract: says which.
        readings: what `Contract.parse` gave, oldest first; at least one, of which the last
            `contract.window` are used.

    Returns:
        float64 of shape (len(contract.feature_names),).
    """
    readings = readings[-contract.window :]
    rolling = contract.features.rolling
    columns = _vector_columns(contract, readings)
    for name, expression in contract.expressions.items():
        if not expression.takes_vectors:
            # A statistic needs the whole window, all else the last reading alone.
            needed = readings if name in rolling else (readings[-1],)
            if expression.field:  # a contract lets no infinity through
                columns[name] = [reading[expression.field] for reading in needed]
            else:
                columns[name] = [expression.of_reading(reading) for reading in needed]
    out = [columns[name][-1] for name in contract.expressions]
    if rolling:
        matrix = np.full((len(rolling), contract.window), np.nan)
        for row, name in enumerate(rolling):
            matrix[row, contract.window - len(readings) :] = columns[name]
        every = sorted({statistic for wanted in rolling.values() for statistic in wanted})
        figures = dict(zip(every, wanted_statistics(matrix, every), strict=True))
        for row, wanted in enumerate(rolling.values()):
            out.extend(figures[statistic][row] for statistic in wanted)
    return np.array(out, dtype=np.float64)


def _vector_columns(contract: Contract, readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values of the expressions that take a vector, for all readings at once."""
    expressions = {n: e for n, e in contract.expressions.items() if e.takes_vectors}
    if not expressions:
        return {}
    values: dict[str, Any] = {}
    for name, field in contract.fields.items():
        column = [reading[name] for reading in readings]
        if field.type == "vector":
            lengths = [len(vector) for vector in column]
            values[name] = Vectors(np.concatenate(column), np.cumsum([0, *lengths[:-1]]))
        else:
            values[name] = np.array(column)
    return {name: expression(values) for name, expression in expressions.items()}
