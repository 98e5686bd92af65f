"""The figures of each column that are compared between days, without the season.

A figure of a day (a unit) is the mean, over its hours, of the difference from the same hour of the
week in the reference. The figure of all devices together is their median; that of one device is its
difference from the median.
"""

import math
import warnings
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from breezeway.drift.hours import Cube, Hours

MIN_FLEET = 5
"""With at least this many devices, each is compared with the median of all."""


class Figure(NamedTuple):
    """One figure of one column: of all devices together, or of each by itself."""

    column: str
    change: str
    devices: np.ndarray | None
    """Their names; None for all devices together, which are one row."""
    before: np.ndarray
    """float64 (devices, units)."""
    after: np.ndarray
    """float64 (devices, current units)."""
    unit: np.ndarray
    """int: the group of each judged unit; a group is judged together."""
    by_itself: bool
    """Whether the units of the reference are judged, each by the others."""
    usual: float = 1.0
    """The profile that is 0 here, in standard deviations."""


def figures(
    reference: Hours,
    current: Hours | None,
    *,
    by_device: bool,
    at_once: bool,
    without: Collection[tuple[str, str]] = (),
) -> Iterator[Figure]:
    """The figures of each column in turn; only those of one column are in memory.

    Args:
        reference: of the training data.
        current: the units to judge; None to judge each unit of the reference by the others.
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
    # With too few weeks, all weekdays are treated as equal.
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
    """The standard deviation that is the unit of levels.

    For a column that never varied it is very small but not zero, so any change is large and finite.
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
                # Compare with the other units: a reference does not contain a new unit either.
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
    """How far the hours are from usual, apart from the level of the unit: a logarithm, because
    it is closer to a normal distribution."""
    square = mean((hours - level[:, :, None]) ** 2, 2)[:, :, 0]
    with np.errstate(divide="ignore"):
        return np.where(square > 0, np.log(square) / 2, np.nan)


def _hours_to_unit(values: np.ndarray, enough: np.ndarray) -> np.ndarray:
    """Mean over the hours; NaN for a unit with too few hours."""
    there = (~np.isnan(values)).sum(axis=2)
    return np.where(there >= np.maximum(enough, 1), mean(values, 2)[:, :, 0], np.nan)


def _count(values: np.ndarray, axis: int | tuple[int, ...] = 1) -> np.ndarray:
    return np.asarray((~np.isnan(values)).sum(axis=axis, keepdims=True), dtype=float)


def mean(values: np.ndarray, axis: int | tuple[int, ...] = 1) -> np.ndarray:
    """The mean of the values that are not NaN, with the same dimensions; NaN if there are none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=axis, keepdims=True) / _count(values, axis))


def _median(values: np.ndarray) -> np.ndarray:
    """The median of the devices: (1, units)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a unit without a value has no median
        return np.asarray(np.nanmedian(values, axis=0, keepdims=True))
