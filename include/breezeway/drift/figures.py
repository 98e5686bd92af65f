"""What is compared from one day to the next: the figures of each column, season taken out.

A figure of a day (a unit) is a mean over its hours, each against the same hour of the week in the
reference; of all devices together it is their median, of one device what sets it apart from that.
"""

import math
import warnings
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from breezeway.drift.hours import Cube, Hours

MIN_FLEET = 5
"""Devices: from so many on each is compared with the median of all as well."""


class Figure(NamedTuple):
    """One figure of one column: of all devices together, or of each by itself."""

    column: str
    change: str
    devices: np.ndarray | None
    """Their names; None for all together, which is one row."""
    before: np.ndarray
    """float64 (devices, units)."""
    after: np.ndarray
    """float64 (devices, current units)."""
    unit: np.ndarray
    """int: of the units that are judged, which are judged at once."""
    by_itself: bool
    """Whether it is the units before that are judged, each by the others."""
    usual: float = 1.0
    """What a profile of 0 stands for, in standard deviations."""


def figures(
    reference: Hours,
    current: Hours | None,
    *,
    by_device: bool,
    at_once: bool,
    without: Collection[tuple[str, str]] = (),
) -> Iterator[Figure]:
    """The figures of each column in turn; memory holds those of one.

    Args:
        reference: of the training data.
        current: what is judged; None where each unit of the reference is, by the others.
        by_device: whether a unit is a device.
        at_once: whether all units of `current` are judged together.
        without: columns of devices, `(device, column)`, that are left out.
    """
    for column in reference.columns:
        if by_device:
            yield from _by_device(column, reference, current, at_once)
        else:
            yield from _by_unit(column, reference, current, at_once, without)


def _by_device(
    column: str, reference: Hours, current: Hours | None, at_once: bool
) -> Iterator[Figure]:
    old, new = _cubes(column, reference, current)
    by_change = _sides_by_device(old, new, _scale(reference, column, old), at_once)
    unit = np.tile(np.arange(1 if at_once else new.level.shape[1]), len(new.level))
    if current is None:
        unit = np.arange(len(old.level))
    for change, (before, after) in by_change.items():
        yield Figure(column, change, None, before, after, unit, current is None)


def _by_unit(
    column: str,
    reference: Hours,
    current: Hours | None,
    at_once: bool,
    without: Collection[tuple[str, str]],
) -> Iterator[Figure]:
    old, new = _cubes(column, reference, current)
    scale, names = _scale(reference, column, old), reference.devices
    if current:
        names = np.intersect1d(reference.devices, current.devices)
        old = old.of(np.searchsorted(reference.devices, names))
        new = new.of(np.searchsorted(current.devices, names))
    units = reference.units, current.units if current else reference.units[:0]
    # Too few weeks to tell weekdays apart: all are alike.
    weekdays = [unit % 7 if reference.weekly else unit * 0 for unit in units]
    by_change = _sides_by_unit(old, new, scale, *weekdays)
    left_out = np.array([(str(name), column) in without for name in names], bool)
    unit = units[1] if current else units[0]
    unit = unit * 0 if at_once else np.arange(len(unit))
    for change, (before, after) in by_change.items():
        after = np.where(left_out[:, None], np.nan, after)
        usual = 1.0
        if len(names) >= MIN_FLEET:
            middle = _median(before), _median(after)
            yield Figure(column, change, None, *middle, unit, current is None)
            before, after = before - middle[0], after - middle[1]
            if change == "profile":
                usual = math.exp(float(mean(middle[0])[0, 0]))
        yield Figure(column, change, names, before, after, unit, current is None, usual)


def _cubes(column: str, reference: Hours, current: Hours | None) -> tuple[Cube, Cube]:
    old = reference.cube(column)
    return old, current.cube(column) if current else old.of_units(slice(0))


def _scale(reference: Hours, column: str, cube: Cube) -> float:
    """The standard deviation that levels are told in.

    For a column that never varied it is so small that any change is large in it, and is still a
    number.
    """
    least = 1e-9 * max(1.0, float(np.nanmax(np.abs(cube.level), initial=0)))
    return reference.scale(column) or least


def _sides_by_device(
    old: Cube, new: Cube, scale: float, at_once: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each device is a unit: before (1, devices) and after (1, devices x current units)."""
    axes = (1, 2) if at_once else 2
    return {
        change: (
            mean(getattr(old, change), (1, 2)).reshape(1, -1) / divisor,
            mean(getattr(new, change), axes).reshape(1, -1) / divisor,
        )
        for change, divisor in (("level", scale), ("spread", 1.0), ("missing", 1.0))
    }


def _sides_by_unit(
    old: Cube, new: Cube, scale: float, weekday: np.ndarray, new_weekday: np.ndarray
) -> dict[str, list[np.ndarray]]:
    """Before (devices, units) and after (devices, current units), season taken out."""
    by_change = {}
    for change, divisor in (("level", scale), ("spread", 1.0), ("missing", 1.0)):
        before, after = getattr(old, change) / divisor, getattr(new, change) / divisor
        sides = np.full_like(before, np.nan), np.full_like(after, np.nan)
        for day in np.unique(weekday):
            same = before[:, weekday == day]
            usual, count = mean(same), _count(same)
            with np.errstate(divide="ignore", invalid="ignore"):
                # Against the other units: what a new unit is compared with does not hold it.
                sides[0][:, weekday == day] = (same - usual) * (count / (count - 1))
            sides[1][:, new_weekday == day] = after[:, new_weekday == day] - usual
        enough = np.median((~np.isnan(before)).sum(axis=2), axis=1)[:, None] / 2
        by_change[change] = [_hours_to_unit(side, enough) for side in sides]
        if change == "level" and before.shape[2] > 1:
            by_change["profile"] = [
                _profile(side, day) for side, day in zip(sides, by_change[change], strict=True)
            ]
    return by_change


def _profile(hours: np.ndarray, level: np.ndarray) -> np.ndarray:
    """How far the hours lie from usual, apart from the unit's level: a logarithm, because
    that is closer to a normal distribution."""
    square = mean((hours - level[:, :, None]) ** 2, 2)[:, :, 0]
    with np.errstate(divide="ignore"):
        return np.where(square > 0, np.log(square) / 2, np.nan)


def _hours_to_unit(values: np.ndarray, enough: np.ndarray) -> np.ndarray:
    """Mean over the hours; NaN for a unit of which too little is there."""
    there = (~np.isnan(values)).sum(axis=2)
    return np.where(there >= np.maximum(enough, 1), mean(values, 2)[:, :, 0], np.nan)


def _count(values: np.ndarray, axis: int | tuple[int, ...] = 1) -> np.ndarray:
    return np.asarray((~np.isnan(values)).sum(axis=axis, keepdims=True), dtype=float)


def mean(values: np.ndarray, axis: int | tuple[int, ...] = 1) -> np.ndarray:
    """The mean of what is there, with its dimension kept; NaN where nothing is."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=axis, keepdims=True) / _count(values, axis))


def _median(values: np.ndarray) -> np.ndarray:
    """Of the devices: (1, units)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a unit without a value has no median
        return np.asarray(np.nanmedian(values, axis=0, keepdims=True))
