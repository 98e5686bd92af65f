"""One day of readings to one partition of the dataset.

Windows of a day can start before midnight, so the readings there are read too; they are not rows of
the day. The days put together are the same, bit for bit, as one run over all of them.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.baselines import DeviceBaseline
from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from breezeway.core.days import day_end, day_of, day_start
from breezeway.core.settings import Settings
from breezeway.preprocessing.baselines import BaselineMaker
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.manifest import DayManifest
from breezeway.preprocessing.payloads import PayloadParser
from breezeway.preprocessing.row_checks import Devices
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.preprocessing.splitting import SplitRows
from breezeway.readings.arrow import ID, NAIVE_READINGS, READINGS, UNREADABLE
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore, Reading, open_store

DIGEST_LETTERS = 12
LATE = (
    "its readings",
    "its labels",
    "the readings before it",
    "the sensor contract",
    "the baselines of its devices",
)
"""What has changed if a part of the fingerprint differs."""
NOT_PUBLISHED = "it is not published"


def range_query(
    store: RawStore, contract: Contract, first: date, last: date, zone: ZoneInfo
) -> str:
    """The SELECT of all readings from a first to a last day, both included."""
    return store.query_of_days(first, last, zone, contract.label.column)


def make_day(settings: Settings, contract: Contract, day: date, folder: Path) -> DayManifest | None:
    """Make the partition of a day.

    Args:
        folder: an empty folder; gets what `make_dataset` writes.

    Returns:
        Its manifest; None if the day has no readings, and then the folder stays empty.

    Raises:
        DataError: too many bad rows, or a batch expectation is not met.
        ServiceUnavailable: the store is away.
    """
    store = open_store(settings)
    if not store.count_by_day(day, day, contract.zone):
        return None
    labels = LabelStore(settings.raw_address).labels_of(contract)
    query = range_query(store, contract, day, day, contract.zone)
    readings = DayReadings(store, contract, day, query, contract.zone)
    baselines = FirstReadings(store, contract).baselines_of(day)
    start = day_start(day, contract.zone)
    spec = DatasetSpec(contract, query, labels, since=start, baselines=baselines)
    made = make_dataset(readings, spec, folder, settings)
    manifest = DayManifest(
        **dict(made),
        day=day.isoformat(),
        fingerprint=_fingerprint(
            contract, labels, day, made.raw.arrived, readings.before, baselines
        ),
    )
    manifest.write(folder)
    return manifest


READ_AT_ONCE = (1, 4, 16, 64)
"""How many times as many readings as a baseline has are looked at, one after the other. A device of
which hardly one in sixty readings is good has no baseline."""


class FirstReadings:
    """The baselines of devices, from their first readings in the raw store.

    Args:
        store: the readings.
        contract: what a good reading is, and how many make a baseline.
    """

    def __init__(self, store: RawStore, contract: Contract):
        self._store, self._contract = store, contract
        self._parser = PayloadParser(contract)
        self._complete: dict[str, DeviceBaseline] = {}

    def baselines_of(self, day: date) -> dict[str, DeviceBaseline | None]:
        """The baselines of the devices of a day; none if the contract asks for none.

        Only readings up to the end of the day count, so a day stays the same when later ones come.
        """
        if self._contract.features.baseline is None:
            return {}
        end = day_end(day, self._contract.zone)
        devices = self._store.devices_of(day, self._contract.zone)
        return {device: self._of_device(device, end) for device in devices}

    def _of_device(self, device: str, end: datetime) -> DeviceBaseline | None:
        if device not in self._complete and (found := self._made(device, end)):
            self._complete[device] = found
        own = self._complete.get(device)
        microseconds = (end - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return own if own and own.last < microseconds else None

    def _made(self, device: str, end: datetime) -> DeviceBaseline | None:
        contract, baseline = self._contract, self._contract.features.baseline
        try:
            contract.check_device(device)
        except Violation:
            return None
        if baseline is None:
            return None
        since = day_start(baseline.since, contract.zone) if baseline.since else None
        for more in READ_AT_ONCE:
            count = more * (baseline.readings + 1)
            found = self._store.first_readings(device, since, end, count, contract.label.column)
            whole = len(found) < count
            good = _good(contract, found if whole else _whole_times(found))
            if len(good) >= baseline.readings or whole:
                break
        if len(good) < baseline.readings:
            return None
        times = sorted(good)[: baseline.readings]
        parsed = self._parser.parse(pa.array([good[time]["payload"] for time in times]))
        maker = BaselineMaker(contract, baseline)
        moments = pa.array(times, pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
        maker.add(Devices([device], np.zeros(len(times), np.int64)), moments, parsed.values)
        return maker.found[device]


class DayReadings:
    """A day's readings in chunks, and then those before midnight that its windows need.

    Args:
        query: of the day's readings.
        zone: of the day.
        scored: as for `lead_in`.

    Attributes:
        before: the readings before midnight, once all chunks were read.
    """

    def __init__(
        self,
        store: RawStore,
        contract: Contract,
        day: date,
        query: str,
        zone: ZoneInfo,
        scored: int = 0,
    ):
        self._store, self._contract, self._day, self._query = store, contract, day, query
        self._zone, self._scored = zone, scored
        self.before = READINGS.empty_table()

    def __iter__(self) -> Iterator[pa.Table]:
        devices: set[str] = set()
        label = self._contract.label.column
        for chunk in self._store.stream(self._query, label=label, with_ids=True):
            chunk = self._of_day(chunk)
            devices.update(pc.unique(chunk["device"]).to_pylist())
            yield chunk
        start = day_start(self._day, self._zone)
        devices -= {None}
        self.before = lead_in(self._store, self._contract, devices, start, self._scored)
        yield self.before

    def _of_day(self, chunk: pa.Table) -> pa.Table:
        """Without text that is no time and only sorts between two days, as in `count_by_day`."""
        if UNREADABLE.name not in chunk.column_names:
            return chunk
        text = chunk[UNREADABLE.name]
        dates = self._store.times.dates_of(self._day, self._day, self._zone)
        starts = [pc.starts_with(text, date.isoformat()) for date in dates]
        return chunk.filter(pc.or_(*starts).fill_null(True)) if starts else chunk


def lead_in(
    store: RawStore, contract: Contract, devices: set[str], start: datetime, scored: int = 0
) -> pa.Table:
    """The good readings of each device before a moment that the windows after it include, and those
    whose values may be carried into these windows.

    They may be old, because a window is a number of readings, not of minutes.

    Args:
        scored: how many of the readings before the moment need whole windows too.

    Returns:
        As `READINGS`.
    """
    rows: list[dict[str, Any]] = []
    for device in sorted(devices):
        rows += _last_good(store, contract, device, start, contract.window - 1 + scored)
    return pa.Table.from_pylist(rows, schema=READINGS)


def _before(store: RawStore, contract: Contract, day: date) -> pa.Table:
    """The lead-in of a day."""
    devices = set(store.devices_of(day, contract.zone))
    return lead_in(store, contract, devices, day_start(day, contract.zone))


def _last_good(
    store: RawStore, contract: Contract, device: str, start: datetime, wanted: int
) -> list[dict[str, Any]]:
    try:
        contract.check_device(device)
    except Violation:
        return []
    carried = contract.longest_carried
    count = wanted + 1
    while wanted or carried:
        found = store.last_readings(device, start, count, contract.label.column)
        whole = len(found) < count
        good = _good(contract, _readings_of(contract, device, found, whole))
        times = sorted(good)
        since = _since(times, wanted, start, carried)
        if whole or (since and (not carried or (times and times[0] < since))):
            kept = [time for time in times if not since or time >= since]
            return [{"device": device, "time": t, **good[t]} for t in kept]
        count *= 4
    return []


def _since(
    times: list[datetime], wanted: int, start: datetime, carried: timedelta | None
) -> datetime | None:
    """The time of the first reading that windows after `start` depend on; None if it is not known.

    Args:
        times: of good readings, in order.
        wanted: how many of them are in windows.
        carried: how old values may be that are carried into them.
    """
    if len(times) < wanted:
        return None
    first = times[-wanted] if wanted else start
    return first - carried if carried else first


def _readings_of(
    contract: Contract, device: str, rows: list[Reading], whole: bool
) -> list[Reading]:
    """The readings of a device's last rows, as far as they are known to be all of their time.

    Args:
        whole: whether these are all rows.
    """
    if contract.splitter is None:
        return rows if whole else _whole_times(rows)
    split = SplitRows((), contract, contract.splitter, datetime.min.replace(tzinfo=UTC))
    of_device = [{"device": device, **row._asdict()} for row in rows]
    table = pa.concat_tables(split.split(pa.Table.from_pylist(of_device, READINGS.append(ID))))
    readings = [
        Reading(reading["time"], reading["payload"], reading["label"], reading["id"])
        for reading in table.filter(table[UNREADABLE.name].is_null()).to_pylist()
    ]
    if whole or not rows:
        return readings
    # A row's readings are of its day. So those of later days are all there.
    oldest = min((day_of(row.time, contract.zone) for row in rows if row.time), default=None)
    return [
        reading
        for reading in readings
        if reading.time and oldest and day_of(reading.time, contract.zone) > oldest
    ]


def _whole_times(found: list[Reading]) -> list[Reading]:
    """The readings without the last time, of which some readings may be missing."""
    oldest = next((reading.time for reading in reversed(found) if reading.time), None)
    return [reading for reading in found if reading.time != oldest]


def _good(contract: Contract, found: list[Reading]) -> dict[datetime, dict[str, Any]]:
    """For each time the reading that preprocessing keeps: the first good one."""
    good: dict[datetime, dict[str, Any]] = {}
    for time, payload, label, _ in sorted(found, key=_order):
        if time is None or time in good or label not in (None, 0, 1):
            continue
        try:
            contract.parser.parse(payload)
        except Violation:
            continue
        good[time] = {"payload": payload, "label": label}
    return good


def _order(reading: Reading) -> tuple[bool, int, bool, str, bool, int]:
    """The sort key of staged readings of the same time: the latest first, then nulls first."""
    _, payload, label, id = reading
    known = (payload is not None, payload or "", label is not None, label or 0)
    return id is None, -(id or 0), *known


def stale_days(
    settings: Settings,
    contract: Contract,
    published: Mapping[date, str],
    made: date | None = None,
) -> dict[date, str]:
    """Which days would be different if made today, and what has changed.

    Late readings change a count. A reading that was changed in place is not noticed.

    Args:
        published: day → the fingerprint in its manifest; empty for a day that is not published,
            which is stale if it has readings.
        made: a day that was just made; of the days after it, only those whose windows reach back
            to it are checked.
    """
    if not published:
        return {}
    store = open_store(settings)
    labels = LabelStore(settings.raw_address).labels_of(contract)
    counts = store.count_by_day(min(published), max(published), contract.zone)
    first_readings = FirstReadings(store, contract)
    stale = {}
    for day in sorted(published):
        if not published[day]:
            if day in counts:
                stale[day] = NOT_PUBLISHED
            continue
        before = _before(store, contract, day)
        reaches = contract.features.baseline or _reaches_back(before, made or day, contract.zone)
        if made and day > made and not reaches:
            continue
        baselines = first_readings.baselines_of(day)
        found = _fingerprint(contract, labels, day, counts.get(day, 0), before, baselines)
        # Shorter where one of the two knows no baselines; then the contract differs too.
        pairs = zip(LATE, published[day].split("-"), found.split("-"), strict=False)
        if changed := [what for what, then, now in pairs if then != now]:
            stale[day] = f"{' and '.join(changed)} changed"
    return stale


def days_to_make(
    settings: Settings,
    contract: Contract,
    published: Mapping[date, str],
    counts: Mapping[date, int],
) -> dict[date, str]:
    """The days of a range that have no partition or a stale one, and why.

    The readings before a day are looked at only where they may have changed: on the first day, and
    after a day whose number of readings is another, as far as windows reach.

    Args:
        published: day → the fingerprint in its manifest.
        counts: day → its readings; days without any are left out.
    """
    store = open_store(settings)
    labels = LabelStore(settings.raw_address).labels_of(contract)
    every = sorted({*published, *counts})
    changed = every[0] - timedelta(days=1) if every else None
    first_readings = FirstReadings(store, contract)
    due = {}
    for day in every:
        if day not in published:
            due[day], changed = "it was not made yet", day
            continue
        then = published[day].split("-")
        before = None
        if changed:
            before = _before(store, contract, day)
            if not _reaches_back(before, changed, contract.zone):
                changed = None
        baselines = first_readings.baselines_of(day)
        now = _parts(contract, labels, day, counts.get(day, 0), before, baselines)
        pairs = zip(LATE, then, now, strict=False)
        if different := [what for what, was, found in pairs if found not in (was, None)]:
            due[day] = f"{' and '.join(different)} changed"
        if then[0] != now[0]:
            changed = day
    return due


def _reaches_back(before: pa.Table, day: date, zone: ZoneInfo) -> bool:
    """Whether the lead-in has readings of a day, or older ones."""
    oldest = pc.min(before["time"]).as_py()
    return oldest is not None and oldest < day_end(day, zone)


def _fingerprint(
    contract: Contract,
    labels: pa.Table | None,
    day: date,
    rows: int,
    before: pa.Table,
    baselines: Mapping[str, DeviceBaseline | None],
) -> str:
    """The fingerprint of a day: its rows, labels, lead-in, and what affects its features."""
    return "-".join(str(part) for part in _parts(contract, labels, day, rows, before, baselines))


def _parts(
    contract: Contract,
    labels: pa.Table | None,
    day: date,
    rows: int,
    before: pa.Table | None,
    baselines: Mapping[str, DeviceBaseline | None],
) -> list[str | None]:
    """The parts of a fingerprint, in the order of `LATE`; None for an unknown lead-in."""
    lead = None
    if before is not None:
        lead = _digest([str(row) for row in before.cast(NAIVE_READINGS).to_pylist()])
    faults = _labels_of(labels, day, contract.zone)
    parts = [str(rows), _digest(faults), lead, _digest(shape(contract))]
    if contract.features.baseline:
        document = {name: own and own.model_dump() for name, own in baselines.items()}
        parts.append(_digest(document))
    return parts


SHAPING = {
    *("name", "time_zone", "interval_seconds", "device_pattern", "payload", "fields"),
    *("features", "label", "quarantine", "source"),
}
"""The sections of a contract that a partition depends on."""


def shape(contract: Contract) -> dict[str, Any]:
    """What a partition depends on: two contracts with the same shape make the same rows."""
    # Without defaults, so that what was made before a key existed stays valid.
    shaping = contract.model_dump(mode="json", include=SHAPING, exclude_defaults=True)
    lookback = contract.alarm.lookback  # the examples are as long
    return shaping | ({"lookback": lookback} if lookback else {})


def _labels_of(labels: pa.Table | None, day: date, zone: ZoneInfo) -> list[list[str]]:
    """The faults of a day, cut at its start and end."""
    if labels is None:
        return []
    first, end = day_start(day, zone), day_end(day, zone)
    overlap = labels.filter((pc.field("start") < end) & (pc.field("end") > first))
    return sorted(
        [row["device"], str(max(row["start"], first)), str(min(row["end"], end))]
        for row in overlap.to_pylist()
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LETTERS]
