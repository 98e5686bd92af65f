"""What readings look like: counted block by block, and merged from parts and from days.

All figures are whole numbers or values of readings, so any order of merging gives the same ones,
and the same readings the same file `profile.json`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from breezeway.contract.contract import Contract
from breezeway.contract.expressions import Vectors
from breezeway.contract.schema import SensorField
from breezeway.core.files import write_text
from breezeway.preprocessing.histograms import Histogram, HistogramCounter, merged_histogram
from breezeway.preprocessing.payload_formats import WORDS
from breezeway.preprocessing.spacing import IntervalTally

PROFILE = "profile.json"
GAP_INTERVALS = 5
"""Readings of a device that are further apart than so many intervals have a gap between them."""
MOST_DEVICES = 200
MOST_GAPS = 20
MOST_BINS, FEWEST_BINS, ALL_BINS = 256, 32, 16_384
"""Bins of a histogram; those of all fields together are at most `ALL_BINS`, or the fewest each."""
STEPS_PER_OCTAVE = 4
"""Intervals are counted by their ratio to the contract's, in steps of a fourth of a doubling."""
SHORTEST, LONGEST = -40, 120
"""The first and the last step; what is beyond is counted there."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class FieldProfile(_Document):
    """The values of one field in good readings; of vectors by element.

    Attributes:
        values: how many, with those that count as missing.
        missing: null, or not as the contract says.
        histogram: of numbers; of a vector one element of each reading is counted.
        words: of a category or a bool, the count of each word.
    """

    values: int
    missing: int
    histogram: Histogram | None = None
    words: list[int] | None = None


class DeviceProfile(_Document):
    """The readings of one device.

    Attributes:
        rows: good ones.
        quarantined: bad ones.
        gaps: between good ones.
        absent: readings that the gaps should have had, by the contract's interval.
        longest: the longest distance of two good readings with a gap, in microseconds.
        last: microseconds since 1970 of the last good one; None if there is none.
    """

    device: str
    rows: int = 0
    quarantined: int = 0
    gaps: int = 0
    absent: int = 0
    longest: int = 0
    last: int | None = None

    @property
    def lost(self) -> int:
        return self.quarantined + self.absent

    def __add__(self, other: "DeviceProfile") -> "DeviceProfile":
        return DeviceProfile(
            device=self.device,
            rows=self.rows + other.rows,
            quarantined=self.quarantined + other.quarantined,
            gaps=self.gaps + other.gaps,
            absent=self.absent + other.absent,
            longest=max(self.longest, other.longest),
            last=max((t for t in (self.last, other.last) if t is not None), default=None),
        )


class Gap(_Document):
    """Two successive good readings of a device, in microseconds since 1970."""

    device: str
    start: int
    end: int


class Profile(_Document):
    """What the readings of a dataset look like.

    Attributes:
        fields: by name.
        times: of good readings, in microseconds since 1970.
        intervals: between good readings of a device, by step (see `STEPS_PER_OCTAVE`).
        gaps, absent: of all devices.
        longest: the longest gaps, at most `MOST_GAPS`.
        devices: how many; of several days at least so many.
        worst: the devices that lost most readings first, at most `MOST_DEVICES`.
        labels: good readings with a fault, without one, and without a label.
        late: good readings that arrived after a newer one of their device.
    """

    fields: dict[str, FieldProfile]
    times: Histogram = Histogram()
    intervals: dict[int, int] = {}
    gaps: int = 0
    absent: int = 0
    longest: list[Gap] = []
    devices: int = 0
    worst: list[DeviceProfile] = []
    labels: tuple[int, int, int] = (0, 0, 0)
    late: int = 0

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Of a dataset; None if it is older than profiles, or holds something else there."""
        try:
            return cls.model_validate_json((folder / PROFILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, UnicodeDecodeError, ValidationError):
            return None

    def write(self, folder: Path) -> None:
        write_text(folder / PROFILE, self.model_dump_json() + "\n")


def merged(profiles: Iterable[Profile], contract: Contract) -> Profile:
    """The profile of all readings of some profiles of this contract."""
    every, bins = list(profiles), _bins(contract)
    devices: dict[str, DeviceProfile] = {}
    intervals: dict[int, int] = {}
    for profile in every:
        for each in profile.worst:
            known = devices.get(each.device)
            devices[each.device] = known + each if known else each
        for step, count in profile.intervals.items():
            intervals[step] = intervals.get(step, 0) + count
    alone = len(devices) == sum(len(profile.worst) for profile in every)
    counted = [profile.devices for profile in every]
    return Profile(
        fields={
            name: _merged_field([p.fields[name] for p in every if name in p.fields], bins)
            for name in contract.fields
        },
        times=merged_histogram([profile.times for profile in every], MOST_BINS),
        intervals=dict(sorted(intervals.items())),
        gaps=sum(profile.gaps for profile in every),
        absent=sum(profile.absent for profile in every),
        longest=_longest(gap for profile in every for gap in profile.longest),
        devices=sum(counted) if alone else max(len(devices), *counted),
        worst=_worst(devices.values()),
        labels=(
            sum(profile.labels[0] for profile in every),
            sum(profile.labels[1] for profile in every),
            sum(profile.labels[2] for profile in every),
        ),
        late=sum(profile.late for profile in every),
    )


def _merged_field(several: list[FieldProfile], bins: int) -> FieldProfile:
    histograms = [each.histogram for each in several if each.histogram]
    words = [each.words for each in several if each.words is not None]
    return FieldProfile(
        values=sum(each.values for each in several),
        missing=sum(each.missing for each in several),
        histogram=merged_histogram(histograms, bins) if histograms else None,
        words=[sum(column) for column in zip(*words, strict=True)] if words else None,
    )


def _longest(gaps: Iterable[Gap]) -> list[Gap]:
    return sorted(gaps, key=lambda g: (g.start - g.end, g.device, g.start))[:MOST_GAPS]


def _worst(devices: Iterable[DeviceProfile]) -> list[DeviceProfile]:
    return sorted(devices, key=lambda each: (-each.lost, each.device))[:MOST_DEVICES]


def _bins(contract: Contract) -> int:
    """Bins of each field's histogram."""
    return min(MOST_BINS, max(FEWEST_BINS, ALL_BINS // len(contract.fields)))


@dataclass
class FieldTotals:
    """Totals of the values of one field; of vectors by element."""

    count: int = 0
    nulls: int = 0
    sum: float = 0.0
    histogram: HistogramCounter | None = None
    words: np.ndarray | None = None

    @classmethod
    def of(cls, contract: Contract, rules: SensorField) -> Self:
        if rules.type not in WORDS:
            return cls(histogram=HistogramCounter(_bins(contract)))
        return cls(words=np.zeros(len(rules.categories) or 2, np.int64))

    def add(self, values: np.ndarray | Vectors, times: np.ndarray) -> None:
        """Count the values of readings and, of vectors, one element for each time (int64)."""
        numbers = values.values if isinstance(values, Vectors) else values
        null = np.isnan(numbers)
        nulls = int(null.sum())
        self.count += len(numbers)
        self.nulls += nulls
        there = numbers[~null] if nulls else numbers
        self.sum += float(there.sum())
        if not len(there):
            return
        if self.words is not None:
            self.words += np.bincount(there.astype(np.intp), minlength=len(self.words))
        elif self.histogram is not None:
            if isinstance(values, Vectors):
                self.histogram.reach(float(there.min()), float(there.max()))
                there = _one_of_each(values, times)
            self.histogram.add(there)

    def profile(self) -> FieldProfile:
        return FieldProfile(
            values=self.count,
            missing=self.nulls,
            histogram=self.histogram.histogram() if self.histogram else None,
            words=None if self.words is None else self.words.tolist(),
        )


def _one_of_each(vectors: Vectors, times: np.ndarray) -> np.ndarray:
    """One element of each vector, without the missing ones.

    Its place follows from the time of the reading by a hash, so it is the same in any block, and
    all places come equally often.
    """
    mixed = (times.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    places = mixed.astype(np.int64) % vectors.lengths
    chosen: np.ndarray = vectors.values[vectors.starts + places]
    return chosen[~np.isnan(chosen)]


class DeviceBlock(NamedTuple):
    """Readings in the order of devices and times.

    Attributes:
        names: of the devices, in order.
        codes: int (readings,): of good readings, their places in `names`.
        times: int64 (readings,): microseconds.
        counted: bool (readings,): the others only come before those that are counted.
        quarantined: int (bad readings,): places in `names`; -1 without a device.
    """

    names: list[str]
    codes: np.ndarray
    times: np.ndarray
    counted: np.ndarray
    quarantined: np.ndarray


class _Gaps(NamedTuple):
    """Gaps of a block: the place of the device, microseconds of the end and from the start to it,
    and how many readings are absent; each of shape (gaps,)."""

    codes: np.ndarray
    ends: np.ndarray
    steps: np.ndarray
    absent: np.ndarray


@dataclass
class DeviceTotals:
    """Counts of times and devices, of blocks in the order of devices and times.

    Only the devices that lost most readings are kept, and the one that may go on.

    Args:
        interval: of the contract, in microseconds; at least 1.
        tally: gets each interval.
    """

    interval: float
    tally: IntervalTally
    gaps: int = 0
    absent: int = 0
    devices: int = 0
    times: HistogramCounter = field(default_factory=lambda: HistogramCounter(MOST_BINS))
    intervals: np.ndarray = field(
        default_factory=lambda: np.zeros(LONGEST - SHORTEST + 1, np.int64)
    )
    longest: list[Gap] = field(default_factory=list)
    worst: list[DeviceProfile] = field(default_factory=list)
    _open: DeviceProfile | None = None
    _before: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        halves = np.arange(SHORTEST, LONGEST) + 0.5
        with np.errstate(over="ignore"):
            self._edges = self.interval * 2.0 ** (halves / STEPS_PER_OCTAVE)

    def add(self, block: DeviceBlock) -> None:
        """Count a block."""
        names, codes, times, counted, _ = block
        steps = np.diff(times, prepend=times[:1])
        follows = np.diff(codes, prepend=codes[:1]) == 0
        if len(codes):
            follows[0] = self._before is not None and self._before[0] == names[codes[0]]
            steps[0] = int(times[0]) - self._before[1] if follows[0] and self._before else 0
            self._before = (names[codes[-1]], int(times[-1]))
        known = follows & counted
        self.tally.add(steps[known])
        self.intervals += np.bincount(
            np.searchsorted(self._edges, steps[known]), minlength=len(self.intervals)
        )
        if counted.any():
            self.times.add(times[counted].astype(np.float64))
        far = np.flatnonzero(known & (steps > GAP_INTERVALS * self.interval))
        absent = np.rint(steps[far] / self.interval).astype(np.int64) - 1
        gaps = _Gaps(codes[far], times[far], steps[far], absent)
        self._keep_longest(names, gaps)
        self._count_devices(block, gaps)

    def _keep_longest(self, names: list[str], gaps: _Gaps) -> None:
        order = np.argsort(-gaps.steps, kind="stable")[:MOST_GAPS]
        found = zip(*(column[order].tolist() for column in gaps[:3]), strict=True)
        here = [Gap(device=names[code], start=end - step, end=end) for code, end, step in found]
        self.longest = _longest([*self.longest, *here])

    def _count_devices(self, block: DeviceBlock, gaps: _Gaps) -> None:
        """Add to each device what a block has of it; keep the worst of those that are complete."""
        names, codes, times, counted, quarantined = block
        size, own = len(names), codes[counted]
        last, longest = np.zeros(size, np.int64), np.zeros(size, np.int64)
        last[own] = times[counted]  # the last one of each stays
        np.maximum.at(longest, gaps.codes, gaps.steps)
        lost = np.zeros(size, np.int64)
        np.add.at(lost, gaps.codes, gaps.absent)
        columns = (
            np.bincount(own, minlength=size),
            np.bincount(quarantined[quarantined >= 0], minlength=size),
            np.bincount(gaps.codes, minlength=size),
            lost,
            longest,
            last,
        )
        self.gaps += len(gaps.codes)
        self.absent += int(gaps.absent.sum())
        found: list[DeviceProfile] = []
        for name, *figures in zip(names, *(column.tolist() for column in columns), strict=True):
            rows, bad, holes, missed, far, end = figures
            if not rows and not bad:
                continue
            here = DeviceProfile(
                device=name, rows=rows, quarantined=bad, gaps=holes, absent=missed, longest=far,
                last=end if rows else None,
            )  # fmt: skip
            if self._open and self._open.device == name:
                self._open += here
            else:
                found += [self._open] if self._open else []
                self._open = here
                self.devices += 1
        self.worst = _worst([*self.worst, *found])

    def profile(
        self, fields: Mapping[str, FieldTotals], labels: Sequence[int], late: int
    ) -> Profile:
        steps = enumerate(self.intervals.tolist(), start=SHORTEST)
        return Profile(
            fields={name: totals.profile() for name, totals in fields.items()},
            times=self.times.histogram(),
            intervals={step: count for step, count in steps if count},
            gaps=self.gaps,
            absent=self.absent,
            longest=self.longest,
            devices=self.devices,
            worst=_worst([*self.worst, *([self._open] if self._open else [])]),
            labels=(labels[0], labels[1], labels[2]),
            late=late,
        )


class LateReadings:
    """Counts readings that arrived after a newer one of their device, in blocks of sorted readings.

    A reading is compared with those of its block and with as many after it.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting: tuple[str, np.ndarray] = ("", np.zeros(0, np.int64))

    def add(self, names: list[str], codes: np.ndarray, ids: pa.Array) -> None:
        """Count a block.

        Args:
            names, codes: as of `DeviceBlock`.
            ids: int64 (readings,): a greater one arrived later; null where that is not known.
        """
        known = ids.is_valid().to_numpy(zero_copy_only=False)
        codes, numbers = codes[known], pc.drop_null(ids).to_numpy()
        if not len(codes):
            return
        # One running minimum from the end for all devices: those of later ones are greater.
        span = int(numbers.max()) - int(numbers.min()) + 1
        apart = numbers + (codes - codes[0]).astype(np.int64) * span
        soonest = np.minimum.accumulate(apart[::-1])[::-1]
        late = apart > soonest
        self.count += int(late.sum())
        name, waiting = self._waiting
        if name == names[codes[0]]:
            overtaken = waiting > soonest[0]
            self.count += int(overtaken.sum())
        own = (codes == codes[-1]) & ~late
        self._waiting = (names[codes[-1]], numbers[own])
