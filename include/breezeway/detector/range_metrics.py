"""Metrics of ranges, for comparison with the literature: VUS-PR and affiliation.

An alarm just beside an event is worth something to them, and of the rows of a long event not each
counts the same. The scorecard stays what a detector is chosen by.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from breezeway.detector.scorecard import Rows, event_starts

CANDIDATES = 250
"""Thresholds of VUS-PR, at evenly spaced ranks."""


class _Event(NamedTuple):
    """Positions of rows: of an event, and of its device; the ends are not included."""

    start: int
    end: int
    device_start: int
    device_end: int


def _events(rows: Rows) -> list[_Event]:
    starts = np.flatnonzero(event_starts(rows))
    goes_on = np.append(rows.label[1:] & ~rows.first[1:], False)
    ends = np.flatnonzero(rows.label & ~goes_on) + 1
    first = np.append(np.flatnonzero(rows.first), len(rows.label))
    device = np.searchsorted(first, starts, side="right") - 1
    bounds = zip(starts, ends, first[device], first[device + 1], strict=True)
    return [_Event(*map(int, each)) for each in bounds]


def vus_pr(rows: Rows, score: np.ndarray, longest: int) -> float | None:
    """Return the volume under the surface of precision, recall and tolerance (Paparrizos et al.,
    2022).

    For each tolerance, events are extended by half of it on both sides, by labels that fall from
    1; the result is the mean of the average precision over all tolerances. Events are extended
    within their device.

    Args:
        rows: labelled rows.
        score: (rows,), higher is more suspicious.
        longest: the longest tolerance, in readings.

    Returns:
        Between 0 and 1, or None without an event.
    """
    events = _events(rows)
    if not events:
        return None
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ranks = np.linspace(0, len(score) - 1, CANDIDATES).astype(int)
    thresholds = ranked[ranks]
    alarms = np.searchsorted(-ranked, -thresholds, side="right")
    found = [
        _range_precision(rows, score, events, tolerance, (order, thresholds, alarms))
        for tolerance in range(longest + 1)
    ]
    return float(np.mean(found))


def _range_precision(
    rows: Rows,
    score: np.ndarray,
    events: Sequence[_Event],
    tolerance: int,
    ranking: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> float:
    order, thresholds, alarms = ranking
    soft = _softened(rows.label, events, tolerance)
    caught = np.cumsum(soft[order])[alarms - 1]
    beside = np.cumsum(np.where(rows.label, 0, soft)[order])[alarms - 1]
    positives = rows.label.sum() + beside / 2
    peaks = [score[start:end].max() for start, end in _stretches(events, tolerance)]
    exists = np.mean(np.array(peaks)[:, None] >= thresholds, axis=0)
    recall = np.minimum(caught / positives, 1) * exists
    return float(np.diff(recall, prepend=0) @ (caught / alarms))


def _softened(label: np.ndarray, events: Sequence[_Event], tolerance: int) -> np.ndarray:
    soft = label.astype(float)
    for event in events:
        reach = np.arange(1, tolerance // 2 + 1)
        weight = np.sqrt(1 - reach / max(1, tolerance))
        after = reach[event.end - 1 + reach < event.device_end]
        soft[event.end - 1 + after] += weight[: len(after)]
        before = reach[event.start - reach >= event.device_start]
        soft[event.start - before] += weight[: len(before)]
    return np.asarray(np.minimum(soft, 1))


def _stretches(events: Sequence[_Event], tolerance: int) -> list[tuple[int, int]]:
    """The events with what they are extended by; those that touch then are one."""
    half = tolerance // 2
    found: list[tuple[int, int]] = []
    for event in events:
        start = max(event.start - half, event.device_start)
        end = min(event.end + half, event.device_end)
        if found and start < found[-1][1]:
            start = found.pop()[0]
        found.append((start, end))
    return found


class Affiliation(NamedTuple):
    """How much closer alarms and events are to each other than by chance (Huet et al., 2022)."""

    precision: float | None
    """None if no alarm belongs to an event's zone."""
    recall: float


def affiliation(rows: Rows, alarm: np.ndarray) -> Affiliation | None:
    """Return the mean over events of the affiliation of alarms to events, and of events to alarms.

    The zone of an event reaches to the middle between it and the next one of its device. Time is
    counted in readings.

    Args:
        alarm: bool, of the rows.

    Returns:
        None without an event.
    """
    events = _events(rows)
    if not events:
        return None
    edges = np.diff(alarm.astype(int), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    precisions, recalls = [], []
    for zone, event in _zones(events):
        first, last = np.searchsorted(ends, zone[0], "right"), np.searchsorted(starts, zone[1])
        alarms = np.clip(np.stack([starts[first:last], ends[first:last]], axis=1), *zone)
        recalls.append(_recall(event, alarms, zone) if len(alarms) else 0.0)
        if len(alarms):
            precisions.append(_precision(event, alarms, zone))
    precision = float(np.mean(precisions)) if precisions else None
    return Affiliation(precision, float(np.mean(recalls)))


Interval = tuple[float, float]


def _zones(events: Sequence[_Event]) -> list[tuple[Interval, Interval]]:
    """The zone of each event, and the event."""
    zones = []
    for number, event in enumerate(events):
        low, high = float(event.device_start), float(event.device_end)
        if number and events[number - 1].device_start == event.device_start:
            low = (events[number - 1].end + event.start) / 2
        if number + 1 < len(events) and events[number + 1].device_start == event.device_start:
            high = (event.end + events[number + 1].start) / 2
        zones.append(((low, high), (float(event.start), float(event.end))))
    return zones


def _precision(event: Interval, alarms: np.ndarray, zone: Interval) -> float:
    """The mean over the time in alarm: 1 inside the event, else the share of the zone that is
    farther from the event."""
    near = min(event[0] - zone[0], zone[1] - event[1])
    length = event[1] - event[0]

    def nearer(distance: np.ndarray) -> np.ndarray:
        """The integral over distances of the length of the zone that is nearer."""
        two_sides = np.minimum(distance, near) ** 2
        one_side = np.maximum(distance - near, 0)
        longer = 2 * near * one_side + one_side**2 / 2
        return np.asarray(length * distance + two_sides + longer)

    total = np.diff(alarms, axis=1).sum()
    before = np.maximum(event[0] - alarms, 0)
    after = np.maximum(alarms - event[1], 0)
    integral = nearer(before[:, 0]) - nearer(before[:, 1]) + nearer(after[:, 1])
    integral -= nearer(after[:, 0])
    return float(1 - integral.sum() / (zone[1] - zone[0]) / total)


def _recall(event: Interval, alarms: np.ndarray, zone: Interval) -> float:
    """The mean over the time of the event: the share of the zone that is farther from it than the
    nearest alarm is. It is linear between the knots, so that the trapezoids are exact."""
    edges = alarms.ravel()
    gaps = (alarms[1:, 0] + alarms[:-1, 1]) / 2
    middles = [(zone[0] + edges) / 2, (zone[1] + edges) / 2, [sum(zone) / 2]]
    knots = np.unique(np.clip(np.concatenate([event, edges, gaps, *middles]), *event))
    place = np.searchsorted(alarms[:, 0], knots, side="right")
    to_earlier = np.where(place > 0, knots - alarms[np.maximum(place - 1, 0), 1], np.inf)
    last = len(alarms) - 1
    to_later = np.where(place <= last, alarms[np.minimum(place, last), 0] - knots, np.inf)
    distance = np.maximum(np.minimum(to_earlier, to_later), 0)
    border = np.minimum(knots - zone[0], zone[1] - knots)
    farther = 1 - (distance + np.minimum(distance, border)) / (zone[1] - zone[0])
    return float(np.trapezoid(farther, knots) / (event[1] - event[0]))
