"""Baselines of devices from their first good readings."""

import numpy as np

from breezeway.contract.baselines import DeviceBaseline, columns_of
from breezeway.contract.contract import Contract
from breezeway.contract.expressions import Vectors
from breezeway.contract.feature_sections import Baseline
from breezeway.core.days import day_start
from breezeway.preprocessing.carried import CarriedForward
from breezeway.preprocessing.payloads import Values
from breezeway.preprocessing.row_checks import Devices


class BaselineMaker:
    """Takes the first good readings of each device, until its baseline is complete.

    A value is carried only from one reading of a baseline to another, so a baseline depends on its
    own readings alone.

    Args:
        contract: the features, and how many readings.
        baseline: its section.

    Attributes:
        found: the complete baselines, by device.
    """

    def __init__(self, contract: Contract, baseline: Baseline):
        self._contract, self._wanted = contract, baseline.readings
        self._since = None
        if baseline.since:
            start = day_start(baseline.since, contract.zone)
            self._since = int(np.datetime64(start.replace(tzinfo=None), "us").astype(np.int64))
        self._carried = CarriedForward(contract)
        self._device: str | None = None
        self._times: list[np.ndarray] = []
        self._columns: list[dict[str, np.ndarray]] = []
        self.found: dict[str, DeviceBaseline] = {}

    def add(self, devices: Devices, times: np.ndarray, values: Values) -> None:
        """Take what is needed of the next good readings.

        Args:
            devices: of the readings, in order.
            times: int64 (readings,): microseconds, rising for each device.
            values: by field, without those that were carried.
        """
        codes = devices.codes
        starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(codes)], strict=True):
            name = devices.names[codes[start]]
            if name != self._device:
                self._device, self._times, self._columns = name, [], []
            if name in self.found:
                continue
            if self._since is not None:
                start += int(np.searchsorted(times[start:end], self._since))
            end = min(end, start + self._wanted - sum(map(len, self._times)))
            if start < end:
                self._take(name, times[start:end], _rows(values, start, end))

    def _take(self, name: str, times: np.ndarray, values: Values) -> None:
        whose = Devices([name], np.zeros(len(times), np.int64))
        filled = self._carried.fill(whose, times, values)
        self._times.append(times)
        self._columns.append(columns_of(self._contract, filled, times))
        if sum(map(len, self._times)) == self._wanted:
            columns = {
                key: np.concatenate([part[key] for part in self._columns])
                for key in self._columns[0]
            }
            self.found[name] = DeviceBaseline.of(np.concatenate(self._times), columns)


def _rows(values: Values, start: int, end: int) -> Values:
    """The values of successive rows."""
    found: Values = {}
    for name, column in values.items():
        if isinstance(column, Vectors):
            rows = np.zeros(len(column.starts), bool)
            rows[start:end] = True
            found[name] = column.select(rows)
        else:
            found[name] = column[start:end]
    return found
