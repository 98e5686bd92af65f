"""Readings to features: for history, in blocks, and for a single request.

Both use the statistics of windows of `rolling`, so the same readings give the same bits.
"""

from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.baselines import DeviceBaseline, beside
from breezeway.contract.clock import HOUR, WEEKDAY, clock, clock_columns
from breezeway.contract.contract import Contract
from breezeway.contract.expressions import Vectors
from breezeway.contract.rolling import rolling_statistics
from breezeway.contract.spans import readings_within
from breezeway.contract.statistics import RollingFeature

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
CHUNK_ROWS = 1 << 15
"""Windows per call: enough to make calls cheap, and few enough for the processor's cache."""


class _Known(NamedTuple):
    """The readings of a block behind those that are kept of the block before.

    Args:
        before: how many are kept.
        ages: int64 (readings,): for each, how many readings before it belong to its run.
        times: int64 (readings,), microseconds, if the contract asks for rates per second.
        within: from `readings_within`.
        of_old: the same; where the longest window is not complete, a usual number.
    """

    before: int
    ages: np.ndarray
    times: np.ndarray | None
    within: dict[int, np.ndarray]
    of_old: dict[int, np.ndarray]


class History:
    """Features of readings that come in blocks, sorted by device and time; those of a baseline are
    still to be put `beside` it.

    Readings of earlier blocks that a window needs are kept, so the result does not depend on where
    a block ends.
    """

    def __init__(self, contract: Contract):
        self._contract = contract
        self._run: Hashable = None
        self._tail = {name: np.empty(0) for name in contract.rolling}
        self._tail_times = np.empty(0, np.int64)
        self._seconds = _seconds_of_windows(contract)

    def features(
        self,
        runs: Sequence[Hashable],
        starts: np.ndarray,
        values: Mapping[str, Any],
        times: np.ndarray,
    ) -> np.ndarray:
        """Features of the next block.

        Args:
            runs: a name for each run of readings in the block, in order: those of a device, up to
                a gap. No window reaches from one into another. A first run with the name of the
                last one of the block before goes on.
            starts: int64 of shape (runs,): the row of each run's first reading.
            values: for each field float64 of shape (rows,), or `Vectors`.
            times: int64 of shape (rows,), microseconds, growing within a run.

        Returns:
            float64 of shape (rows, len(contract.feature_names)).
        """
        if not len(runs):
            return np.empty((0, len(self._contract.feature_names)))
        if self._contract.takes_time:
            values = {**values, **clock_columns(self._contract.zone, times)}
        rows, expressions = len(times), self._contract.expressions
        columns = {name: np.broadcast_to(e(values), rows) for name, e in expressions.items()}
        goes_on = runs[0] == self._run
        out = np.empty((len(self._contract.feature_names), rows)).T  # each column in one piece
        for position, name in enumerate(columns):
            out[:, position] = columns[name]
        position = len(columns)
        known = self._known(goes_on, times, starts)
        for name, wanted in self._contract.rolling.items():
            tail = self._tail[name][: None if goes_on else 0]
            column, self._tail[name] = self._joined(tail, columns[name], starts)
            self._slide(column, known, wanted, out[:, position : position + len(wanted)])
            position += len(wanted)
        self._run = runs[-1]
        return out

    def _known(self, goes_on: bool, times: np.ndarray, starts: np.ndarray) -> _Known:
        tail = self._tail_times[: None if goes_on else 0]
        known, self._tail_times = self._joined(tail, times, starts)
        begins = np.concatenate([[0], starts[1:] + len(tail)])
        ages = np.arange(len(known)) - np.repeat(begins, np.diff(begins, append=len(known)))
        rates = known if self._contract.features.rate_per == "second" else None
        within = readings_within(known, ages, self._seconds, self._contract.features.window)
        is_old = ages >= self._contract.window - 1
        return _Known(len(tail), ages, rates, within, _usual_where_young(within, is_old))

    def _joined(
        self, tail: np.ndarray, column: np.ndarray, starts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """A column behind what is kept of the block before, and what the next block needs of it."""
        known = np.concatenate([tail, column])
        first = len(tail) + starts[-1] if len(starts) > 1 else 0
        return known, known[max(first, len(known) - self._contract.window + 1) :].copy()

    def _slide(
        self, column: np.ndarray, known: _Known, wanted: Sequence[RollingFeature], out: np.ndarray
    ) -> None:
        """Write the statistics of every trailing window of a column into `out`."""
        width, (before, ages, times, within, of_old) = self._contract.window, known
        for first in range(max(width - 1, before), len(column), CHUNK_ROWS):
            here = slice(first - width + 1, min(first + CHUNK_ROWS, len(column)))
            found = rolling_statistics(
                column[here],
                width,
                wanted,
                times=None if times is None else times[here],
                within={each: counts[first : here.stop] for each, counts in of_old.items()},
            )
            self._put(found, wanted, out[first - before : here.stop - before])
        # The first readings of a device have no complete window: the values there include readings
        # of another device.
        young = np.flatnonzero(ages < width - 1)
        if len(young) and young[-1] >= before:
            nobody = np.zeros(width - 1, np.int64)
            found = rolling_statistics(
                np.concatenate([np.full(width - 1, np.nan), column[young]]),
                width,
                wanted,
                np.concatenate([nobody, ages[young]]),
                None if times is None else np.concatenate([nobody, times[young]]),
                {seconds: counts[young] for seconds, counts in within.items()},
            )
            new = young >= before
            self._put(
                {name: values[new] for name, values in found.items()},
                wanted,
                out,
                young[new] - before,
            )

    @staticmethod
    def _put(
        found: Mapping[RollingFeature, np.ndarray],
        wanted: Sequence[RollingFeature],
        out: np.ndarray,
        rows: np.ndarray | slice = slice(None),
    ) -> None:
        for position, feature in enumerate(wanted):
            out[rows, position] = found[feature]


def _usual_where_young(
    within: Mapping[int, np.ndarray], is_old: np.ndarray
) -> dict[int, np.ndarray]:
    """The numbers of readings of windows by time, and those of a usual row where windows are put
    later: windows of equal lengths are faster.

    Args:
        within: from `readings_within`.
        is_old: bool (readings,).
    """
    if not within or not is_old.any():
        return dict(within)
    longest = within[max(within)]
    usual = np.bincount(longest[is_old]).argmax()
    row = (is_old & (longest == usual)).argmax()
    return {each: np.where(is_old, counts, counts[row]) for each, counts in within.items()}


def latest_features(
    contract: Contract,
    readings: Sequence[Mapping[str, Any]],
    times: Sequence[datetime],
    count: int = 1,
    baseline: DeviceBaseline | None = None,
) -> np.ndarray:
    """Features of the last readings of one device, for one request.

    Args:
        contract: defines the features.
        readings: from `ReadingParser.parse`, oldest first; at least `count`. A window of each of
            the last ones is used.
        times: of the readings, with an offset from UTC, each later than the one before.
        count: of how many readings.
        baseline: of the device; None if it has none.

    Returns:
        float64 of shape (count, len(contract.feature_names)), the last reading last.
    """
    needed_readings = contract.window + count - 1
    readings, times = readings[-needed_readings:], times[-needed_readings:]
    if contract.takes_time:
        first = 0 if contract.windows_take_time else -count
        timed = zip(readings[first:], times[first:], strict=True)
        told = [{**reading, **clock(contract.zone, time)} for reading, time in timed]
        readings = [*readings[: len(readings) - len(told)], *told]
    rolling = contract.rolling
    columns = _vector_columns(contract, readings)
    for name, expression in contract.expressions.items():
        if not expression.takes_vectors:
            # A statistic needs whole windows, everything else only the readings themselves.
            needed = readings if name in rolling else readings[-count:]
            if expression.field:  # a contract does not allow infinity
                columns[name] = [reading[expression.field] for reading in needed]
            else:
                columns[name] = [expression.of_reading(reading) for reading in needed]
    out = [[columns[name][place] for name in contract.expressions] for place in range(-count, 0)]
    if rolling:
        matrix = np.full((len(rolling), needed_readings), np.nan)
        for row, name in enumerate(rolling):
            matrix[row, needed_readings - len(readings) :] = columns[name]
        every = {feature for wanted in rolling.values() for feature in wanted}
        passed, within = _passed(contract, times, needed_readings, count)
        figures = rolling_statistics(matrix, contract.window, every, times=passed, within=within)
        for row, wanted in enumerate(rolling.values()):
            for number, own in enumerate(out):
                own.extend(figures[feature][row, number] for feature in wanted)
    features = np.array(out, dtype=np.float64)
    _beside_baseline(contract, features, times[-count:], baseline)
    return features


def _seconds_of_windows(contract: Contract) -> list[int]:
    """How long its windows by time are, and the parts at their ends that are left out."""
    every = (feature for wanted in contract.rolling.values() for feature in wanted)
    return sorted({each for feature in every for each in feature.span if each})


def _passed(
    contract: Contract, times: Sequence[datetime], needed_readings: int, count: int
) -> tuple[np.ndarray | None, dict[int, np.ndarray]]:
    """What windows need of the times of a request, as `rolling_statistics` takes it."""
    seconds, per_second = _seconds_of_windows(contract), contract.features.rate_per == "second"
    if not seconds and not per_second:
        return None, {}
    passed = np.array([(time - times[-1]) // MICROSECOND for time in times], np.int64)
    within = readings_within(passed, np.arange(len(times)), seconds, contract.features.window)
    within = {each: counts[-count:] for each, counts in within.items()}
    if not per_second:
        return None, within
    return np.concatenate([np.zeros(needed_readings - len(times), np.int64), passed]), within


def _beside_baseline(
    contract: Contract,
    features: np.ndarray,
    times: Sequence[datetime],
    baseline: DeviceBaseline | None,
) -> None:
    if contract.features.baseline:
        ends = np.array([(time - EPOCH) // MICROSECOND for time in times], np.int64)
        beside(contract, features, ends, baseline)


def _vector_columns(contract: Contract, readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values of the expressions that take a vector, for all readings at once."""
    expressions = {n: e for n, e in contract.expressions.items() if e.takes_vectors}
    if not expressions:
        return {}
    clock_keys = [HOUR, WEEKDAY] if contract.windows_take_time else []
    values: dict[str, Any] = {}
    for name in [*set().union(*(e.fields for e in expressions.values())), *clock_keys]:
        column = [reading[name] for reading in readings]
        if name in contract.fields and contract.fields[name].type == "vector":
            lengths = [len(vector) for vector in column]
            values[name] = Vectors(np.concatenate(column), np.cumsum([0, *lengths[:-1]]))
        else:
            values[name] = np.array(column)
    return {name: expression(values) for name, expression in expressions.items()}
