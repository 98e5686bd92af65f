"""Which devices, and which values of a category, a detector serves worse than the others."""

from typing import NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector import scorecard
from breezeway.detector.scorecard import Rows
from breezeway.detector.table import Table

Z95 = 1.959964
MOST_DEVICES = 500
"""With more devices they are no groups that a person looks at."""


class Share(NamedTuple):
    """A share, with its 95 % interval; None without rows or events."""

    value: float
    low: float
    high: float


class Group(NamedTuple):
    """Some of the rows."""

    kind: str
    """`device`, or the name of a category's field."""
    name: str
    rows: int
    events: int
    hit: Share | None
    """Of its events."""
    false: Share | None
    """Of its normal rows, those in alarm."""
    worse: bool
    """Whether an interval lies wholly on the worse side of the figure of all rows."""


def device_groups(rows: Rows, alarm: np.ndarray, block_seconds: float) -> list[Group]:
    """Judge each device by itself; none if they are more than `MOST_DEVICES`.

    Args:
        alarm: bool, of the rows.
        block_seconds: neighbouring readings are alike, so periods of this length count, not rows.
    """
    present = np.flatnonzero(np.bincount(rows.device, minlength=len(rows.names)))
    if len(present) > MOST_DEVICES:
        return []
    names = dict(zip(present.tolist(), rows.names[present].tolist(), strict=True))
    return _groups("device", rows, rows.device, names, alarm, block_seconds)


def category_groups(
    table: Table, judged: np.ndarray, contract: Contract, alarm: np.ndarray, block_seconds: float
) -> list[Group]:
    """Judge each value of a category that is a feature; an event has the value of its start.

    Args:
        judged: bool, of the table's rows.
        alarm: bool, of the judged rows.
    """
    rows = table.rows.where(judged)
    found: list[Group] = []
    for number, feature in enumerate(contract.feature_names):
        field = contract.fields.get(contract.features.reading.get(feature, ""))
        if field is None or field.type != "category":
            continue
        code = np.nan_to_num(table.features[judged, number], nan=-1).astype(int)
        names = {-1: "missing", **dict(enumerate(field.categories))}
        found += _groups(feature, rows, code, names, alarm, block_seconds)
    return found


def _groups(
    kind: str,
    rows: Rows,
    code: np.ndarray,
    names: dict[int, str],
    alarm: np.ndarray,
    block_seconds: float,
) -> list[Group]:
    begins = scorecard.event_starts(rows)
    event = np.cumsum(begins) - 1
    hit = np.zeros(int(begins.sum()), dtype=bool)
    hit[event[rows.label & alarm]] = True
    of_event = code[begins]
    blocks = scorecard.time_blocks(rows.device, rows.time.astype("datetime64[us]"), block_seconds)
    all_hit = hit.mean() if len(hit) else 0.0
    all_false = alarm[~rows.label].mean() if (~rows.label).any() else 0.0
    groups = []
    for value in np.unique(code).tolist():
        normal = (code == value) & ~rows.label
        found = _wilson(hit[of_event == value])
        false = _clustered(alarm[normal], blocks[normal])
        worse = bool((found and found.high < all_hit) or (false and false.low > all_false))
        own = int((code == value).sum())
        events = int((of_event == value).sum())
        groups.append(Group(kind, names[value], own, events, found, false, worse))
    return groups


def _wilson(hit: np.ndarray) -> Share | None:
    """Wilson's interval of a share: right for few events too."""
    count = len(hit)
    if not count:
        return None
    share = float(hit.mean())
    centre = share + Z95**2 / (2 * count)
    reach = Z95 * np.sqrt(share * (1 - share) / count + (Z95 / (2 * count)) ** 2)
    low, high = ((centre + side * reach) / (1 + Z95**2 / count) for side in (-1, 1))
    return Share(share, max(0.0, float(low)), min(1.0, float(high)))


def _clustered(alarm: np.ndarray, blocks: np.ndarray) -> Share | None:
    """The share of rows in alarm, with an interval from how blocks differ, not rows."""
    if not len(alarm):
        return None
    _, block = np.unique(blocks, return_inverse=True)
    rows = np.bincount(block)
    beyond = np.bincount(block, weights=alarm) - alarm.mean() * rows
    correction = len(rows) / max(1, len(rows) - 1)
    reach = Z95 * np.sqrt(correction * np.sum(beyond**2)) / len(alarm)
    share = float(alarm.mean())
    return Share(share, max(0.0, share - float(reach)), min(1.0, share + float(reach)))
