"""Last known values in the place of missing ones."""

from datetime import timedelta

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.preprocessing.payloads import Values
from breezeway.preprocessing.row_checks import Devices


class CarriedForward:
    """Puts the device's last known value, if it is not too old, in the place of a missing one.

    Args:
        contract: names the fields, and for how long.
    """

    def __init__(self, contract: Contract):
        self._ages = {
            name: age // timedelta(microseconds=1) for name, age in contract.carried.items()
        }
        self._last: dict[str, tuple[str, int, float]] = {}

    def fill(self, devices: Devices, times: np.ndarray, values: Values) -> Values:
        """The values of the next good readings.

        Args:
            devices: of the readings, in order.
            times: int64 (readings,): microseconds, rising for each device.
            values: by field.
        """
        if not len(times) or not self._ages:
            return values
        codes, rows = devices.codes, np.arange(len(times))
        first = np.maximum.accumulate(np.where(np.diff(codes, prepend=-2) != 0, rows, 0))
        names = [devices.names[code] for code in codes[[0, -1]].tolist()]
        filled = dict(values)
        for name, age in self._ages.items():
            column = np.asarray(values[name])
            known = ~np.isnan(column)
            place = np.maximum.accumulate(np.where(known, rows, -1))
            there = place >= first
            at, value = times[place], column[place]
            if name in self._last and self._last[name][0] == names[0]:
                before = ~there & (first == 0)
                at[before], value[before] = self._last[name][1:]
                there |= before
            fits = there & (times - at <= age)
            filled[name] = np.where(known | ~fits, column, value)
            if there[-1]:
                self._last[name] = (names[1], int(at[-1]), float(value[-1]))
            else:
                self._last.pop(name, None)
        return filled
