"""Has what comes in changed since training?

`find_drift` decides it, with a known rate of false alarms.

Readings are autocorrelated, so the independent unit is a day (or a device, if the model must work
for new devices). Rows are aggregated by device and hour. Each hour is compared with the same hour
of the week in the reference. The hours of a day give a few figures. A figure of a new day is a
change if its difference is large compared with the variation between days of the reference.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from breezeway.drift.figures import Figure, figures, mean
from breezeway.drift.hours import DAY, Hours

FEW_BATCHES = {"batch_size": 32_768, "batch_readahead": 2, "fragment_readahead": 1}
"""How to read features from files with few of them in memory."""

SHORTEST_UNIT = 60_000_000
MONTH_DAYS = 365.25 / 12
MIN_UNITS = 8
"""Units of the reference; with fewer, its variation is unknown."""
MIN_EFFECT = {"level": 0.15, "spread": math.log(1.15), "profile": 0.15, "missing": 0.05}
"""Smaller changes do not matter, even if they are significant: `level` and `profile` in standard
deviations of a device's rows in the reference, `spread` as the logarithm of a ratio, `missing` as a
share of the values."""


@dataclass(frozen=True)
class Finding:
    """One thing that has changed.

    Args:
        column: a feature, or `score`.
        device: its name; None if all devices changed together.
        change: `level`, `spread` (within an hour), `profile` (the course of the day: how far its
            hours are from usual, apart from the level) or `missing`; and `rate`, of false alarms.
        effect: in the unit of `MIN_EFFECT`, with its sign.
        p_value: not corrected for the number of comparisons.
    """

    column: str
    device: str | None
    change: str
    effect: float
    p_value: float

    @property
    def place(self) -> tuple[str, str | None]:
        return self.column, self.device

    def __str__(self) -> str:
        where = f" of {self.device}" if self.device else ""
        match self.change:
            case "level":
                how = f"is {self.effect:+.2f} standard deviations from its level"
            case "spread":
                how = f"varies {math.exp(self.effect):.2f} times as much"
            case "profile":
                how = f"does not follow its usual day, by {self.effect:.2f} standard deviations"
            case "rate":
                how = f"are {self.effect:.1f} times as many as expected"
            case _:
                how = f"is missing {self.effect:+.1%} of the time"
        return f"{self.column}{where} {how} (p = {self.p_value:.1g})"


def unit_length(first: int, last: int) -> int:
    """A day, or less for a recording of some hours, so that it has enough units.

    In a recording of two days or more the parts of a day differ, so the unit must be a day. With
    fewer than `MIN_UNITS` days nothing is judged.

    Args:
        first, last: times of the reference, in microseconds.
    """
    if last - first >= 2 * DAY:
        return DAY
    return max(SHORTEST_UNIT, (last - first) // (2 * MIN_UNITS))


def find_drift(
    reference: Hours,
    current: Hours,
    *,
    false_discovery_rate: float,
    by_device: bool = False,
    nights: int | None = None,
    without: Collection[tuple[str, str]] = (),
) -> list[list[Finding]]:
    """Find changes that are significant and large enough to matter.

    A t-test compares each figure of new units (days) with the units of the reference: for all
    devices together by their median, and for each device by its difference from that median. If
    nothing has changed, something is found in at most the share `false_discovery_rate` of the
    cases [Benjamini and Hochberg 1995].

    Works badly with a short reference: a month does not contain the seasons of a year.

    Args:
        reference: of the training data.
        current: recent rows, in the same units.
        false_discovery_rate: 0 to 1; half of it for all devices together, half for single ones.
        by_device: whether the current devices differ from those of the reference; then devices
            are the units.
        nights: each unit of `current` is judged by itself and together with this many before it,
            which finds smaller changes later; None: all units are judged together.
        without: columns of devices, `(device, column)`, that are left out.

    Returns:
        Findings, the lowest p-value first: a list for each unit of `current`, or one list for all.
        Empty if the reference has fewer than `MIN_UNITS`.

    References:
        Benjamini, Hochberg (1995), Controlling the false discovery rate, Journal of the Royal
        Statistical Society B 57.
    """
    tests = [
        test
        for figure in figures(
            reference,
            current,
            by_device=by_device,
            at_once=nights is None,
            without=without,
        )
        for test in _tests(figure, nights)
    ]
    groups = 1 if nights is None else len(current.units)
    return [_findings(tests, group, false_discovery_rate) for group in range(groups)]


def replay(
    reference: Hours, *, false_discovery_rate: float, nights: int, by_device: bool = False
) -> list[list[Finding]]:
    """Compare each unit of a reference with its other units, as `find_drift` does.

    If nothing changed in the reference, each finding is false. So this measures the rate of false
    findings on these data.

    Returns:
        Findings for each of `reference.units`; with `by_device` for each device.
    """
    tests = [
        test
        for figure in figures(reference, None, by_device=by_device, at_once=False)
        for test in _tests(figure, nights)
    ]
    groups = tests[0].p_value.shape[1] if tests else 0
    return [_findings(tests, group, false_discovery_rate) for group in range(groups)]


def confirmed(nights: Sequence[Sequence[Finding]], confirmations: int) -> list[Finding]:
    """The findings of the last night whose column and device were found before.

    Args:
        nights: findings, night by night.
        confirmations: in at least how many of the nights before the last.
    """
    *before, last = ({finding.place for finding in night} for night in nights)
    return [
        finding
        for finding in nights[-1]
        if finding.place in last
        and sum(finding.place in night for night in before) >= confirmations
    ]


class _Tests(NamedTuple):
    """The tests of a figure, (devices, groups) each; NaN if there was no test."""

    figure: Figure
    effect: np.ndarray
    p_value: np.ndarray


def _tests(figure: Figure, nights: int | None) -> Iterator[_Tests]:
    """Test each unit, and each unit together with those before it."""
    from scipy.special import stdtr

    before, unit = figure.before, figure.unit
    middle = mean(before)
    there = ~np.isnan(before)
    x = np.where(there, before - middle, 0)
    new, y = there, x
    if not figure.by_itself:
        new = ~np.isnan(figure.after)
        y = np.where(new, figure.after - middle, 0)
    groups = np.arange(unit.max(initial=-1) + 1)
    correlation = _autocorrelation(x, there)
    for span in dict.fromkeys((0, nights or 0)):
        ago = groups - unit[:, None]
        together = ((ago >= 0) & (ago <= span)).astype(float)
        weight = new @ together
        # A unit of the reference that is judged is not part of the comparison.
        own = together if figure.by_itself else np.zeros((x.shape[1], len(groups)))
        count = there.sum(axis=1, keepdims=True) - there @ own
        with np.errstate(divide="ignore", invalid="ignore"):
            usual = (x.sum(axis=1, keepdims=True) - x @ own) / count
            square = (x**2).sum(axis=1, keepdims=True) - x**2 @ own - count * usual**2
            deviation = np.sqrt(np.maximum(square, 0) / (count - 1))
            value = (y @ together) / weight
            error = deviation * np.sqrt(
                _inflation(correlation, span + 1) / weight + _inflation(correlation, count) / count
            )
            freedom = np.maximum(count * (1 - correlation**2) / (1 + correlation**2) - 1, 1)
            p_value = 2 * stdtr(freedom, -np.abs(value - usual) / error)
        same = np.isclose(value, usual, rtol=0, atol=1e-9)
        p_value = np.where(error > 0, p_value, np.where(same, 1.0, 0.0))
        p_value = np.where((weight > 0) & (count >= MIN_UNITS), p_value, np.nan)
        if figure.change == "profile":
            value, usual = (figure.usual * np.exp(side + middle) for side in (value, usual))
        yield _Tests(figure, value - usual, p_value)


def _autocorrelation(x: np.ndarray, there: np.ndarray) -> float:
    """The autocorrelation of successive units, over all devices; 0 if it is negative.

    Args:
        x: float64 (devices, units), minus its mean; 0 where no value is `there`.
    """
    total = (x**2).sum()
    if not total:
        return 0.0
    found = float((x[:, 1:] * x[:, :-1]).sum() / total)
    # With the mean of the same units the estimate is too small [Kendall 1954].
    return min(max(found + (1 + 3 * found) / there.sum(axis=1).mean(), 0.0), 0.95)


def _inflation(correlation: float, span: np.ndarray | int) -> Any:
    """How many times larger the variance of the mean of `span` successive, autocorrelated units is
    than that of as many independent ones."""
    r = correlation
    return (1 + r) / (1 - r) - 2 * r * (1 - r**span) / (span * (1 - r) ** 2)


def _findings(tests: Sequence[_Tests], group: int, rate: float) -> list[Finding]:
    """The findings of one group, the lowest p-value first."""
    found = []
    for together in (True, False):
        kind = [test for test in tests if (test.figure.devices is None) == together]
        if not kind:
            continue
        p_value = np.concatenate([test.p_value[:, group] for test in kind])
        limit = _benjamini_hochberg(p_value, rate / 2)
        for test in kind:
            smallest = MIN_EFFECT[test.figure.change]
            p_value, effect = test.p_value[:, group], test.effect[:, group]
            # A day that is closer to the usual course than others is not a change.
            size = effect if test.figure.change == "profile" else np.abs(effect)
            for row in np.flatnonzero((p_value <= limit) & (size >= smallest)):
                names = test.figure.devices
                device = None if names is None else str(names[row])
                found.append(
                    Finding(
                        test.figure.column,
                        device,
                        test.figure.change,
                        float(effect[row]),
                        float(p_value[row]),
                    )
                )
    found.sort(key=lambda finding: finding.p_value)
    return list({(finding.place, finding.change): finding for finding in found[::-1]}.values())[
        ::-1
    ]


def _benjamini_hochberg(p_value: np.ndarray, rate: float) -> float:
    """The largest p-value that is significant; -1 if none is."""
    ranked = np.sort(p_value[~np.isnan(p_value)])
    passed = ranked <= rate * np.arange(1, len(ranked) + 1) / max(1, len(ranked))
    return float(ranked[passed][-1]) if passed.any() else -1.0
