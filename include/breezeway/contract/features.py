"""Readings to features: for history, in blocks, and for a single request.

Both use the statistics of windows of `rolling`, so the same readings give the same bits.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.contract.expressions import Vectors
from breezeway.contract.rolling import rolling_statistics
from breezeway.contract.schema import Statistic

CHUNK_ROWS = 1 << 15
"""Windows per call: enough to make calls cheap, and few enough for the processor's cache."""


class History:
    """Features of readings that come in blocks, sorted by device and time.

    Readings of earlier blocks that a window needs are kept, so the result does not depend on where
    a block ends.
    """

    def __init__(self, contract: Contract):
        self._contract = contract
        self._run: Hashable = None
        self._tail = {name: np.empty(0) for name in contract.features.rolling}

    def features(
        self, runs: Sequence[Hashable], starts: np.ndarray, values: Mapping[str, Any]
    ) -> np.ndarray:
        """Features of the next block.

        Args:
            runs: a name for each run of readings in the block, in order: those of a device, up to
                a gap. No window reaches from one into another. A first run with the name of the
                last one of the block before goes on.
            starts: int64 of shape (runs,): the row of each run's first reading.
            values: for each field float64 of shape (rows,), or `Vectors`.

        Returns:
            float64 of shape (rows, len(contract.feature_names)).
        """
        if not len(runs):
            return np.empty((0, len(self._contract.feature_names)))
        columns = {name: e(values) for name, e in self._contract.expressions.items()}
        rows = len(next(iter(columns.values())))
        goes_on = runs[0] == self._run
        out = np.empty((len(self._contract.feature_names), rows)).T  # each column in one piece
        for position, name in enumerate(columns):
            out[:, position] = columns[name]
        position = len(columns)
        for name, wanted in self._contract.features.rolling.items():
            tail = self._tail[name] if goes_on else np.empty(0)
            into = out[:, position : position + len(wanted)]
            self._slide(columns[name], tail, starts, wanted, into)
            position += len(wanted)
            of_last = columns[name][starts[-1] :]
            if len(starts) == 1:
                of_last = np.concatenate([tail, of_last])
            self._tail[name] = of_last[max(0, len(of_last) - self._contract.window + 1) :]
        self._run = runs[-1]
        return out

    def _slide(
        self,
        column: np.ndarray,
        tail: np.ndarray,
        starts: np.ndarray,
        wanted: Sequence[Statistic],
        out: np.ndarray,
    ) -> None:
        """Write the statistics of every trailing window of `column` into `out`."""
        width = self._contract.window
        known = np.concatenate([tail, column])
        for first in range(max(width - 1, len(tail)), len(known), CHUNK_ROWS):
            stop = min(first + CHUNK_ROWS, len(known))
            found = rolling_statistics(known[first - width + 1 : stop], width, wanted)
            self._put(found, wanted, out[first - len(tail) : stop - len(tail)])
        # The first readings of a device have no complete window: the values there include readings
        # of another device.
        begins = np.concatenate([[0], starts[1:] + len(tail)])
        ages = np.arange(len(known)) - np.repeat(begins, np.diff(begins, append=len(known)))
        young = np.flatnonzero(ages < width - 1)
        if len(young) and young[-1] >= len(tail):
            nothing = np.full(width - 1, np.nan)
            found = rolling_statistics(
                np.concatenate([nothing, known[young]]),
                width,
                wanted,
                np.concatenate([np.zeros(width - 1, np.int64), ages[young]]),
            )
            new = young >= len(tail)
            self._put({n: f[new] for n, f in found.items()}, wanted, out, young[new] - len(tail))

    @staticmethod
    def _put(
        found: Mapping[str, np.ndarray],
        wanted: Sequence[Statistic],
        out: np.ndarray,
        rows: np.ndarray | slice = slice(None),
    ) -> None:
        for position, name in enumerate(wanted):
            out[rows, position] = found[name]


def window_features(contract: Contract, readings: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Features of the last reading of one device, for one request.

    Args:
        contract: defines the features.
        readings: from `ReadingParser.parse`, oldest first; at least one. The last
            `contract.window` of them are used.

    Returns:
        float64 of shape (len(contract.feature_names),).
    """
    readings = readings[-contract.window :]
    rolling = contract.features.rolling
    columns = _vector_columns(contract, readings)
    for name, expression in contract.expressions.items():
        if not expression.takes_vectors:
            # A statistic needs the whole window, everything else only the last reading.
            needed = readings if name in rolling else (readings[-1],)
            if expression.field:  # a contract does not allow infinity
                columns[name] = [reading[expression.field] for reading in needed]
            else:
                columns[name] = [expression.of_reading(reading) for reading in needed]
    out = [columns[name][-1] for name in contract.expressions]
    if rolling:
        matrix = np.full((len(rolling), contract.window), np.nan)
        for row, name in enumerate(rolling):
            matrix[row, contract.window - len(readings) :] = columns[name]
        every = sorted({statistic for wanted in rolling.values() for statistic in wanted})
        figures = rolling_statistics(matrix, contract.window, every)
        for row, wanted in enumerate(rolling.values()):
            out.extend(figures[statistic][row, 0] for statistic in wanted)
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
