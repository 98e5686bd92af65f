"""The rows that a nightly check compares: the judged days, and the training data.

Each stream reads its files again, a few rows at a time.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from breezeway.core.days import day_end, day_start
from breezeway.core.settings import Settings
from breezeway.detector.scoring import ScoringModel
from breezeway.drift import decision
from breezeway.drift.hours import Hours, on_the_clock
from breezeway.drift.report import sample
from breezeway.preprocessing.dataset import broken_expectations, make_features
from breezeway.preprocessing.days import lead_in, range_query
from breezeway.preprocessing.manifest import Manifest
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import open_store


@dataclass(frozen=True)
class Days:
    """The readings of some days, checked, with features.

    Args:
        folder: with `features/` and, if any row was bad, `quarantine/`.
        manifest: of the folder.
        broken: a sentence for each rule of the contract that the batch as a whole breaks.
        zone: of the days.
        start: of the days, if the folder has rows before it: these only have a say in the scores of
            later ones.
    """

    folder: Path
    manifest: Manifest
    broken: list[str]
    zone: ZoneInfo
    start: pa.Scalar | None = None

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The rows of the days."""
        return _since(batches(self.folder / "features"), self.start)

    def rows_by_device(self) -> Counter[str]:
        """The number of good rows of each device."""
        rows: Counter[str] = Counter()
        columns = ["device", "time"]
        found = ds.dataset(self.folder / "features").to_batches(columns=columns)
        for batch in _since(found, self.start):
            for entry in pc.value_counts(batch["device"]).to_pylist():
                rows[entry["values"]] += entry["counts"]
        return rows

    def scored(self, model: ScoringModel, day: date | None = None) -> Iterator[pa.RecordBatch]:
        """The rows with the scores that the server would give.

        Args:
            day: of the rows; None: of all days.
        """
        rows = batches(self.folder / "features")
        if day is None:
            return _since(with_scores(model, rows), self.start)
        start, end = _moments(day, day, self.zone)
        if not model.contract.alarm.lookback:  # nothing else has a say
            rows = _since(rows, start)
        before_end = (batch.filter(pc.less(batch["time"], end)) for batch in rows)
        return _since(with_scores(model, before_end), start)


def read_days(
    model: ScoringModel,
    first: date,
    last: date,
    zone: ZoneInfo,
    settings: Settings,
    folder: Path,
) -> Days | None:
    """Check the readings of some days and make features from them; None if there are none.

    Args:
        zone: of the days: that of the contract, and not the model's, which may be older.
        folder: for the files; it is created.

    Raises:
        ServiceUnavailable: the raw store does not answer.
    """
    store = open_store(settings)
    if not store.count_by_day(first, last, zone):
        return None
    contract = model.contract
    folder.mkdir()
    query, lookback = range_query(store, contract, first, last, zone), contract.alarm.lookback
    start = day_start(first, zone)

    def chunks() -> Iterator[pa.Table]:
        yield lead_in(store, contract, set(store.devices_of(first, zone)), start, lookback)
        yield from store.stream(query, label=contract.label.column, with_ids=True)

    labels = LabelStore(settings.raw_address).labels_of(contract)
    spec = DatasetSpec(contract, query, labels, start, model.baselines, keeps_lead_in=lookback > 0)
    manifest, results = make_features(chunks(), spec, folder, settings)
    broken = list(broken_expectations(contract, manifest, results))
    return Days(folder, manifest, broken, zone, _scalar(start) if lookback else None)


@dataclass(frozen=True)
class NightRows:
    """The rows of a night.

    Args:
        model: the champion.
        training_data: folder of the features of the champion's dataset.
        day: the judged day.
        zone: of days and hours.
        nights: how many days before it are judged again.
        before: these days; None if they have no reading.
        tonight: the day; None if it has no reading.
        judged: the fit of the champion that was evaluated: the one that serves may know the
            readings that were held out for that.
    """

    model: ScoringModel
    training_data: Path
    day: date
    zone: ZoneInfo
    nights: int
    before: Days | None
    tonight: Days | None
    judged: ScoringModel

    @property
    def first(self) -> date:
        return self.day - timedelta(days=self.nights)

    @property
    def by_device(self) -> bool:
        """Whether the model was trained on some devices, to work on others."""
        return self.model.trained_on.devices is not None

    def current(self) -> Iterator[pa.RecordBatch]:
        """The rows of all judged days."""
        return chain.from_iterable(days.rows() for days in self._judged_days())

    def _judged_days(self) -> list[Days]:
        return [days for days in (self.before, self.tonight) if days]

    def reference(self, trained: bool = True) -> Iterator[pa.RecordBatch]:
        """The training data, without the judged days.

        Args:
            trained: if devices are the units: those that the model was trained on, or else the
                others.
        """
        start, end = _moments(self.first, self.day, self.zone)
        devices = self.judged.trained_on.devices
        for batch in batches(self.training_data):
            kept = pc.or_(pc.less(batch["time"], start), pc.greater_equal(batch["time"], end))
            if devices is not None:
                known = pc.is_in(batch["device"], pa.array(sorted(devices)))
                kept = pc.and_(kept, known if trained else pc.invert(known))
            yield batch.filter(kept)

    def unseen(self) -> Iterator[pa.RecordBatch]:
        """Rows of the training data that the evaluated fit was not trained on, with its scores,
        because a model is surer of rows that it was trained on."""
        for batch in self.reference(trained=False):
            seen = self.judged.trained_on.covers(batch["device"], batch["time"])
            yield from with_scores(self.judged, [batch.filter(pa.array(~seen))])

    def scored(self) -> Iterator[pa.RecordBatch]:
        """`current`, with the scores."""
        return chain.from_iterable(days.scored(self.model) for days in self._judged_days())

    def samples(self, weekly: bool) -> tuple[pa.Table, pa.Table] | None:
        """Rows of the training data and of the day, for plots; None if one side has none.

        Args:
            weekly: whether to take only rows of the same day of the week from the training data.
        """
        if not self.tonight or not self.tonight.manifest.rows:
            return None
        reference, count = self.reference(), ds.dataset(self.training_data).count_rows()
        if weekly:
            reference, count = _on_weekday(reference, self.day.isoweekday(), self.zone), count // 7
        old = sample(with_scores(self.model, reference), count)
        new = sample(self.tonight.scored(self.model), self.tonight.manifest.rows)
        return (old, new) if len(old) and len(new) else None


def batches(*folders: Path) -> Iterator[pa.RecordBatch]:
    """The rows of folders of features, a few at a time."""
    for folder in folders:
        for batch in ds.dataset(folder).to_batches(**decision.FEW_BATCHES):
            if len(batch):
                yield batch


def hours_of(
    rows: Iterable[pa.RecordBatch], columns: list[str], threads: int, zone: ZoneInfo
) -> Hours:
    """Aggregate some float64 columns by hour."""
    schema = pa.schema(
        [
            ("device", pa.string()),
            ("time", pa.timestamp("us", tz="UTC")),
            *((name, pa.float64()) for name in columns),
        ]
    )
    reader = pa.RecordBatchReader.from_batches(
        schema, (batch.select(schema.names) for batch in rows)
    )
    return Hours(reader, columns, threads=threads, zone=zone)


def with_scores(model: ScoringModel, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows with their scores; of each the rows before it have a say that the contract gives
    them."""
    before: list[pa.RecordBatch] = []
    for batch in rows:
        if len(batch):
            whole = pa.concat_batches([*before, batch])
            score = model.score_readings(whole)[len(whole) - len(batch) :]
            yield batch.append_column("score", pa.array(score))
            if lookback := model.contract.alarm.lookback:
                before = [whole.slice(max(0, len(whole) - lookback))]


def _since(rows: Iterable[pa.RecordBatch], start: pa.Scalar | None) -> Iterator[pa.RecordBatch]:
    """The rows of a moment and later; all, if there is none."""
    for batch in rows:
        if start is None:
            yield batch
        elif len(kept := batch.filter(pc.greater_equal(batch["time"], start))):
            yield kept


def _on_weekday(
    rows: Iterable[pa.RecordBatch], weekday: int, zone: ZoneInfo
) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        day = pc.day_of_week(on_the_clock(batch, zone)["time"], count_from_zero=False)
        yield batch.filter(pc.equal(day, weekday))


def _moments(first: date, last: date, zone: ZoneInfo) -> tuple[pa.Scalar, pa.Scalar]:
    """The time from the start of a first day to the end of a last one."""
    start, end = day_start(first, zone), day_end(last, zone)
    return _scalar(start), _scalar(end)


def _scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", "UTC"))
