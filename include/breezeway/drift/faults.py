"""Sensor faults, which are not drift: devices that are silent, stuck, new or have a wrong clock."""

from dataclasses import dataclass

import numpy as np

from breezeway.drift.hours import Hours


@dataclass(frozen=True)
class SensorFault:
    """A fault of a device or of one of its sensors.

    Args:
        fault: `silent`, `stuck`, `clock`, `invalid` or `new device`.
        columns: the features of the device in which drift is not judged; may be empty.
    """

    device: str
    fault: str
    detail: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.device}: {self.fault}: {self.detail}"


def sensor_faults(reference: Hours, current: Hours, day: int) -> list[SensorFault]:
    """Find devices that are silent, new, stuck, or have a wrong clock on a day.

    An hour without readings is silent if the reference has readings at nine in ten of the same
    hours of the week. An hour is crowded if it has more than 1.5 times as many readings as usual. A
    column is stuck if nothing varies in an hour, and that happened in less than 1 % of the hours
    before.

    Args:
        reference, current: in units of `DAY`.
        day: number of the day since 1970.
    """
    there = current.units == day
    rows = np.zeros((len(reference.devices), 24))
    known = np.isin(current.devices, reference.devices)
    if there.any():
        place = np.searchsorted(reference.devices, current.devices[known])
        rows[place] = current.rows()[known][:, there][:, 0]
    before = reference.rows()
    if reference.weekly:
        before = before[:, reference.units % 7 == day % 7]
    # An hour that clocks did not show, as they were set forward, says nothing.
    expected = np.nanmean(np.where(np.isnan(before), np.nan, before > 0), axis=1) >= 0.9
    usual = np.nanmedian(before, axis=1)
    faults = []
    for number, device in enumerate(reference.devices.tolist()):
        silent = expected[number] & (rows[number] == 0)
        crowded = (rows[number] > 1.5 * usual[number]) & (usual[number] >= MIN_CROWD)
        if crowded.any():
            most = int(np.nanargmax(rows[number] - usual[number]))
            detail = (
                f"{crowded.sum()} hours hold more readings than an hour has: "
                f"{rows[number, most]:.0f} from {most:02}:00, usually {usual[number, most]:.0f}"
            )
            if silent.any():
                detail += f", and {silent.sum()} hours have none"
            faults.append(SensorFault(device, "clock", detail, tuple(reference.columns)))
        elif silent.sum() >= max(1, SILENT_SHARE * expected[number].sum()):
            detail = f"no readings in {silent.sum()} of {expected[number].sum()} hours"
            faults.append(SensorFault(device, "silent", detail))
    if there.any():
        for device in current.devices[
            ~known & (np.nansum(current.rows()[:, there], axis=(1, 2)) > 0)
        ]:
            faults.append(SensorFault(str(device), "new device", "not in the training data"))
        faults += _stuck(reference, current, there)
    return faults


SILENT_SHARE = 0.25
"""Of the hours in which a device is expected to send readings."""
MIN_CROWD = 4
"""Usual readings an hour; with fewer, a crowded hour does not show a wrong clock."""
STUCK_HOURS = 4


def _stuck(reference: Hours, current: Hours, there: np.ndarray) -> list[SensorFault]:
    names = np.intersect1d(reference.devices, current.devices)
    old, new = (np.searchsorted(side.devices, names) for side in (reference, current))
    hours = np.zeros((len(reference.columns), len(names)))
    for number, column in enumerate(reference.columns):
        constant = current.cube(column).constant[new][:, there]
        before = reference.cube(column).constant[old]
        spoke = np.maximum((~np.isnan(before)).sum(axis=(1, 2)), 1)
        rare = np.nansum(before, axis=(1, 2)) < 0.01 * spoke
        hours[number] = np.where(rare, np.nansum(constant, axis=(1, 2)), 0)
    faults = []
    for place in np.flatnonzero((hours >= STUCK_HOURS).any(axis=0)):
        columns = [
            column
            for number, column in enumerate(reference.columns)
            if hours[number, place] >= STUCK_HOURS
        ]
        detail = f"{', '.join(columns)} did not vary in {hours[:, place].max():.0f} hours"
        faults.append(SensorFault(str(names[place]), "stuck", detail, tuple(columns)))
    return faults
