"""How good a detector is: a few metrics, beside those of baselines that look at no sensor.

F1 alone says little about alarms: a clock can reach 0.83 where a good model reaches 0.78. So
a scorecard shows events hit, how soon, false episodes an hour and the share of normal time in
alarm together, and the same metrics for three baselines.

- An *event* is a maximal run of positive readings of one device.
- An *alarm episode* is a sequence of alarms of a device with gaps of at most the horizon (a minute,
  or ten readings of a slow sensor): a person is called once for all of them.
- A *false episode* is an alarm episode without an alarm inside an event.
- A *prompt* hit of an event is one within the horizon of the event's start.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa  # not installed in the model server, which needs no scorecard

BASELINES = ("always_on", "clock_only", "random")

CLOCK_ON, CLOCK_OFF = 0.25, 0.95
"""The part of a device's time in which the clock-only baseline is in alarm."""


class Rows(NamedTuple):
    """Labelled readings in the order (device, time), as arrays of one length."""

    first: np.ndarray
    """bool: the first reading of its device."""
    device: np.ndarray
    """int: position of the device's name in `names`."""
    time: np.ndarray
    """int64: microseconds since 1970, UTC."""
    label: np.ndarray
    """bool."""
    order: np.ndarray
    """int: the position of the reading in the frame."""
    names: np.ndarray
    """str: the names of the devices; only this array has another length."""

    def where(self, kept: np.ndarray) -> "Rows":
        """Return some of the rows.

        Args:
            kept: bool, of the rows.
        """
        device = self.device[kept]
        return Rows(
            _changes(device), device, self.time[kept], self.label[kept], self.order[kept],
            self.names,
        )  # fmt: skip


@dataclass(frozen=True)
class Scorecard:
    """The metrics of a detector. A share of no rows is None.

    Args:
        horizon_seconds: a hit is prompt if it is at most this long after the start of its event.
        false_alarm_rate: share of the normal rows that are in alarm.
        missed_share: share of the positive rows that are not.
        median_delay_seconds, p90_delay_seconds: from the start of an event that is hit to its first
            alarm, the median and the 90th percentile; None without a hit.
    """

    rows: int
    events: int
    events_hit: int
    events_hit_promptly: int
    horizon_seconds: float
    false_episodes: int
    false_episodes_per_normal_hour: float | None
    false_alarm_rate: float | None
    missed_share: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    median_delay_seconds: float | None
    p90_delay_seconds: float | None

    def figures(self) -> dict[str, float | int | None]:
        """By the names that are logged; that of the prompt hits contains the horizon:
        `events_hit_within_60s`."""
        names = {"events_hit_promptly": f"events_hit_within_{self.horizon_seconds:g}s"}
        return {
            names.get(name, name): value
            for name, value in asdict(self).items()
            if name != "horizon_seconds"
        }


def rows_of(frame: Mapping[str, Any]) -> Rows:
    """Order a frame's labelled readings.

    Args:
        frame: anything with the columns `device`, `time` and `label` (null: left out), such as
            an Arrow table, a pandas frame or a dict of arrays.

    Raises:
        DataError: a label is neither 0 nor 1.
    """
    label = numbers(frame["label"])
    known = ~np.isnan(label)
    if not np.isin(label[known], (0, 1)).all():
        raise DataError("label: expected 0, 1 or null.")
    coded = arrow_column(frame["device"]).dictionary_encode()
    found = np.array(coded.dictionary.to_pylist())
    # By name, not by first appearance: the same rows in other files are in the same order.
    by_name = np.argsort(found)
    device, names = np.argsort(by_name)[coded.indices.to_numpy()], found[by_name]
    time = microseconds(frame["time"])
    order = np.lexsort((time, device))
    order = order[known[order]]
    device = device[order]
    return Rows(_changes(device), device, time[order], label[order] == 1, order, names)


def _changes(device: np.ndarray) -> np.ndarray:
    first = np.ones(len(device), dtype=bool)
    first[1:] = device[1:] != device[:-1]
    return first


def arrow_column(column: Any) -> "pa.Array":
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks()
    return column if isinstance(column, pa.Array) else pa.array(column)


def microseconds(column: Any) -> np.ndarray:
    """Return times as int64 microseconds since 1970, UTC."""
    import pyarrow as pa

    times = arrow_column(column).cast(pa.timestamp("us", "UTC"), safe=False)
    values: np.ndarray = times.cast(pa.int64()).to_numpy()
    return values


def numbers(column: Any) -> np.ndarray:
    """Return numbers as float64, null as NaN."""
    import pyarrow as pa

    values: np.ndarray = arrow_column(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def horizon_seconds(interval_seconds: float) -> float:
    return max(60, 10 * interval_seconds)


def event_starts(rows: Rows) -> np.ndarray:
    """Return a mask of the rows at which an event starts."""
    begins = rows.label.copy()
    begins[1:] &= rows.first[1:] | ~rows.label[:-1]
    return begins


def false_episode_starts(rows: Rows, alarm: np.ndarray, horizon: float) -> np.ndarray:
    """Find the alarm episodes without an alarm inside an event.

    Args:
        alarm: bool, of the rows.
        horizon: the longest time between two alarms of one episode, in seconds.

    Returns:
        int (false episodes,): the rows at which they start.
    """
    alarms = np.flatnonzero(alarm)
    device, time = rows.device[alarms], rows.time[alarms]
    begins = np.ones(len(alarms), dtype=bool)
    begins[1:] = (device[1:] != device[:-1]) | (np.diff(time) > horizon * 1_000_000)
    episode = np.cumsum(begins) - 1
    starts: np.ndarray = alarms[begins][np.bincount(episode, weights=rows.label[alarms]) == 0]
    return starts


def scorecard(
    frame: Mapping[str, Any], threshold: float | np.ndarray, interval_seconds: float
) -> Scorecard:
    """Return the metrics of a score column at a threshold.

    Works badly with few events: with ten of them, one more or less moves a share by 0.1.

    Args:
        frame: columns `device`, `time`, `label` (null: the row is left out) and `score`.
        threshold: a row is in alarm from this score on; one number, or one for each row.
        interval_seconds: time that one reading stands for.

    Example:
        >>> card = scorecard(
        ...     {"device": ["a"] * 4, "time": np.arange(4).astype("datetime64[s]"),
        ...      "label": [0, 0, 1, 1], "score": [0.9, 0.1, 0.2, 0.8]}, 0.5, 1)
        >>> card.events_hit, card.false_episodes, card.false_alarm_rate
        (1, 0, 0.5)
    """
    rows = rows_of(frame)
    score = numbers(frame["score"])
    alarm = (score >= threshold)[rows.order]
    return _judged(rows, alarm, score[rows.order], interval_seconds)


def baselines(
    frame: Mapping[str, Any],
    threshold: float | np.ndarray,
    interval_seconds: float,
    seed: int = 0,
) -> dict[str, Scorecard]:
    """Return the metrics of three baselines, which look at no sensor, on the same rows.

    - `always_on`: always in alarm.
    - `clock_only`: in alarm from 25 % to 95 % of each device's readings; a device with a single
      reading is placed within the time range of all.
    - `random`: in alarm at random readings, as many as the alarms of the model.

    Args:
        frame, threshold, interval_seconds: as for `scorecard`.
        seed: of the random readings.
    """
    rows = rows_of(frame)
    rate = float((numbers(frame["score"]) >= threshold)[rows.order].mean()) if len(rows[0]) else 0
    on = {
        "always_on": np.ones(len(rows.label), dtype=bool),
        "clock_only": _clock(rows),
        "random": np.random.default_rng(seed).random(len(rows.label)) < rate,
    }
    return {name: _judged(rows, on[name], on[name], interval_seconds) for name in BASELINES}


def average_precision(label: np.ndarray, score: np.ndarray) -> float | None:
    """Return the area under the precision-recall curve, as steps; ties share one step.

    Args:
        label: bool (rows,).
        score: (rows,), higher is more suspicious.

    Returns:
        Between 0 and 1, or None without a positive row.
    """
    ranking = _Ranking.of(np.asarray(label, dtype=bool), np.asarray(score, dtype=float))
    return _precision(ranking, np.ones(len(ranking.order)))


class Difference(NamedTuple):
    """Of the average precision of two score columns: the estimate and its 95 % interval."""

    estimate: float
    low: float
    high: float


def compare(
    label: np.ndarray,
    score: np.ndarray,
    other: np.ndarray,
    blocks: np.ndarray,
    *,
    resamples: int = 400,
    seed: int = 0,
) -> Difference:
    """Return how much more average precision one score column has than another.

    A paired block bootstrap: neighbouring readings are almost the same, so whole blocks are
    resampled, and both columns are evaluated on the same sample. Works badly with fewer than
    about twenty blocks that hold a positive row: the interval is then too narrow.

    Args:
        label: bool (rows,).
        score, other: (rows,) each, of the same rows.
        blocks: int (rows,), from `time_blocks`.
        resamples: number of samples.
        seed: of the samples.

    Raises:
        DataError: no row is positive, so neither column has an average precision.
    """
    label = np.asarray(label, dtype=bool)
    mine, others = average_precision(label, score), average_precision(label, other)
    if mine is None or others is None:
        raise DataError("label: no row is positive, so there is nothing to compare.")
    rankings = [_Ranking.of(label, np.asarray(column, dtype=float)) for column in (score, other)]
    names, block = np.unique(blocks, return_inverse=True)
    evenly = np.full(len(names), 1 / len(names))
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        drawn = generator.multinomial(len(names), evenly).astype(float)
        first, second = (_precision(r, drawn[block[r.order]]) for r in rankings)
        if first is not None and second is not None:  # None without a positive row
            differences.append(first - second)
    low, high = np.percentile(differences, (2.5, 97.5)) if differences else (-1.0, 1.0)
    return Difference(float(mine - others), float(low), float(high))


def block_seconds(contract: Contract) -> float:
    """Return the length of the periods that are resampled: readings that far apart say something
    of their own, because no feature window holds both."""
    return 4 * contract.window * contract.interval_seconds


def time_blocks(device: Any, time: Any, seconds: float) -> np.ndarray:
    """Number the blocks (device, period) that `compare` resamples.

    Args:
        device, time: a column each.
        seconds: length of a period; longer than an event and a feature window.

    Returns:
        int (rows,).
    """
    codes = arrow_column(device).dictionary_encode().indices.to_numpy().astype(np.int64)
    stretch = microseconds(time) // max(1, int(seconds * 1e6))
    if not len(stretch):
        return stretch
    stretch -= stretch.min()
    blocks: np.ndarray = codes * (stretch.max() + 1) + stretch
    return blocks


def _clock(rows: Rows) -> np.ndarray:
    starts = np.flatnonzero(rows.first)
    sizes = np.diff(np.append(starts, len(rows.first)))
    within = np.arange(len(rows.first)) - np.repeat(starts, sizes)
    size = np.repeat(sizes, sizes)
    on = (within >= np.floor(CLOCK_ON * size)) & (within < np.floor(CLOCK_OFF * size))
    alone = size == 1
    if alone.any():
        since = rows.time - rows.time.min()
        position = since[alone] / max(1, since.max())
        on[alone] = (position >= CLOCK_ON) & (position < CLOCK_OFF)
    return on


def _judged(rows: Rows, alarm: np.ndarray, score: np.ndarray, interval_seconds: float) -> Scorecard:
    label = rows.label
    begins = event_starts(rows)
    event = np.cumsum(begins) - 1
    hit_rows = np.flatnonzero(label & alarm)
    hit, first_hit = np.unique(event[hit_rows], return_index=True)
    delay = rows.time[hit_rows[first_hit]] - rows.time[np.flatnonzero(begins)[hit]]
    horizon = horizon_seconds(interval_seconds)
    false = len(false_episode_starts(rows, alarm, horizon))

    normal, positive = int((~label).sum()), int(label.sum())
    caught, alarms = int((label & alarm).sum()), int(alarm.sum())
    return Scorecard(
        rows=len(label),
        events=int(begins.sum()),
        events_hit=len(hit),
        events_hit_promptly=int((delay <= horizon * 1_000_000).sum()),
        horizon_seconds=horizon,
        false_episodes=false,
        false_episodes_per_normal_hour=_share(false, normal * interval_seconds / 3600),
        false_alarm_rate=_share(alarms - caught, normal),
        missed_share=_share(positive - caught, positive),
        precision=_share(caught, alarms),
        recall=_share(caught, positive),
        f1=_share(2 * caught, alarms + positive),
        average_precision=average_precision(label, score),
        median_delay_seconds=_percentile(delay, 50),
        p90_delay_seconds=_percentile(delay, 90),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _percentile(microseconds: np.ndarray, percent: float) -> float | None:
    """In seconds."""
    if not len(microseconds):
        return None
    return float(np.percentile(microseconds, percent) / 1_000_000)


class _Ranking(NamedTuple):
    order: np.ndarray
    """Rows from the most to the least suspicious."""
    positives: np.ndarray
    """Ranks of the positive rows."""
    ends: np.ndarray
    """Last rank of each group of ties that holds a positive row."""
    until: np.ndarray
    """Positives up to each of these ends."""

    @classmethod
    def of(cls, label: np.ndarray, score: np.ndarray) -> "_Ranking":
        order = np.argsort(-score)  # in which order ties stand changes nothing
        ranked = score[order]
        positives = np.flatnonzero(label[order])
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        ends, until = np.unique(last[np.searchsorted(last, positives)], return_counts=True)
        return cls(order, positives, ends, np.cumsum(until))


def _precision(ranking: _Ranking, weight: np.ndarray) -> float | None:
    """Return the average precision of ranked rows that count `weight` times each."""
    if not len(ranking.positives):
        return None
    caught = np.cumsum(weight[ranking.positives])[ranking.until - 1]
    if not caught[-1]:
        return None
    alarms = np.cumsum(weight)[ranking.ends]
    gained = np.diff(caught, prepend=0.0)
    precision = np.divide(caught, alarms, out=np.zeros_like(caught), where=alarms > 0)
    return float(gained @ precision / caught[-1])
