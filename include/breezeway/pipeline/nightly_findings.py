"""Findings of a nightly check: sensor faults, changes of features and scores, false alarms."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from breezeway.contract.contract import Contract
from breezeway.contract.schema import Drift
from breezeway.core.days import day_of
from breezeway.core.settings import Settings
from breezeway.detector.scorecard import Scorecard, scorecard
from breezeway.detector.scoring import ScoringModel
from breezeway.drift import decision
from breezeway.drift.decision import Finding
from breezeway.drift.faults import SensorFault, sensor_faults
from breezeway.drift.hours import Hours
from breezeway.drift.night import FalseAlarms
from breezeway.pipeline.nightly_rows import Days, NightRows, hours_of
from breezeway.readings.store import open_store

RATE_SHARES = {"features": 0.8, "score": 0.1, "quality": 0.1}
"""The share of the rate of false alarms that each may use."""
MIN_RATIO = 1.25
"""The smallest factor by which more false alarms than expected matter."""
QUALITY_ROWS = 1_000_000
"""The most labelled rows of a day; with more, only evenly spaced devices are evaluated."""
DUPLICATES = 5
"""With at least this many readings at times that it had reported before, a device has a clock
fault."""
AHEAD = timedelta(minutes=5)
"""Readings that are dated further in the future come from a wrong clock."""


@dataclass(frozen=True)
class NightHours:
    """The hours that are compared.

    Args:
        reference: features of the training data.
        current: features of the days that are judged.
        unseen: scores of the training data that the model was not trained on.
        scores: scores of the days that are judged.
        by_device: whether devices are compared, not days.
    """

    reference: Hours
    current: Hours
    unseen: Hours
    scores: Hours
    by_device: bool

    @classmethod
    def of(cls, rows: NightRows, threads: int) -> "NightHours":
        features = rows.model.feature_names
        return cls(
            reference=hours_of(rows.reference(), features, threads, rows.zone),
            current=hours_of(rows.current(), features, threads, rows.zone),
            unseen=hours_of(rows.unseen(), ["score"], threads, rows.zone),
            scores=hours_of(rows.scored(), ["score"], threads, rows.zone),
            by_device=rows.by_device,
        )

    def is_enough(self, side: Hours) -> bool:
        """Whether a side of the training data is large enough to compare with."""
        return len(side.devices if self.by_device else side.units) >= decision.MIN_UNITS

    @property
    def compared_by(self) -> str:
        if self.by_device:
            return "device"
        return "hour of the week" if self.reference.weekly else "hour of the day"


@dataclass(frozen=True)
class Quality:
    """The scorecard of labelled rows; without labels in the contract of all, presumed normal.

    Args:
        device_days: the time of the rows, in days of a device.
        has_labels: whether the contract names labels.
    """

    card: Scorecard
    device_days: float
    has_labels: bool = True

    def figures(self) -> dict[str, float | int | None]:
        """By the names that are logged."""
        if not self.has_labels:
            return {
                "rows": self.card.rows,
                "alarm_episodes": self.card.false_episodes,
                "alarm_share": self.card.false_alarm_rate,
                "device_days": self.device_days,
            }
        return {**self.card.figures(), "device_days": self.device_days}


def find_faults(rows: NightRows, hours: NightHours, settings: Settings) -> list[SensorFault]:
    """Sensor faults of the day, at most one of each kind for a device.

    Raises:
        ServiceUnavailable: the raw store does not answer.
    """
    columns = tuple(hours.reference.columns)
    faults: list[SensorFault] = []
    if not hours.by_device and hours.is_enough(hours.reference):
        faults += sensor_faults(hours.reference, hours.current, _unit(rows.day))
    now = datetime.now(UTC)
    if rows.day >= day_of(now, rows.zone) - timedelta(days=1):
        ahead = open_store(settings).devices_ahead(now + AHEAD)
        for device, (count, latest) in ahead.items():
            detail = f"{count} readings are dated ahead of now, up to {latest:%Y-%m-%d %H:%M}"
            faults.append(SensorFault(device, "clock", detail, columns))
    if rows.tonight:
        faults += quarantine_faults(rows.model.contract, rows.tonight, columns)
    return _one_a_kind(faults)


def quarantine_faults(
    contract: Contract, tonight: Days, columns: tuple[str, ...]
) -> list[SensorFault]:
    """Devices that repeat times, or break the contract more often than it allows."""
    if not (tonight.folder / "quarantine").is_dir():
        return []
    good = tonight.rows_by_device()
    bad: dict[str, Counter[str]] = {}
    for batch in ds.dataset(tonight.folder / "quarantine").to_batches(
        columns=["device", "reason", "field"]
    ):
        for row in batch.to_pylist():
            reasons = bad.setdefault(row["device"] or "", Counter())
            reasons[f"{row['reason']} of {row['field']}"] += 1
    faults = []
    for device, reasons in sorted(bad.items()):
        repeated = reasons.pop("duplicate_time of time", 0)
        rows = good[device] + repeated + reasons.total()
        if repeated >= max(DUPLICATES, 0.01 * rows):
            detail = f"{repeated} readings at times that it had reported before"
            faults.append(SensorFault(device, "clock", detail, columns))
        if reasons.total() > contract.quarantine.max_share * rows:
            (most, count), *_ = reasons.most_common(1)
            detail = f"{reasons.total()} of {rows} readings break the contract, {count} by {most}"
            faults.append(SensorFault(device, "invalid", detail))
    return faults


def _one_a_kind(faults: list[SensorFault]) -> list[SensorFault]:
    """One fault of each kind for a device; a clock fault or invalid payloads explain silence."""
    wrong = {fault.device for fault in faults if fault.fault in ("clock", "invalid")}
    kept = {
        (fault.device, fault.fault): fault
        for fault in faults
        if not (fault.fault == "silent" and fault.device in wrong)
    }
    return [kept[key] for key in sorted(kept)]


def judge_nights(
    rows: NightRows, hours: NightHours, faults: list[SensorFault], rule: Drift, rate: float
) -> tuple[list[list[Finding]], Quality | None]:
    """The findings of each night, the last night last; and the quality of the last night.

    Args:
        rate: allowed share of nights with a finding among those without a change.
    """
    nights: list[list[Finding]] = [[] for _ in range(rule.nights + 1)]
    sides = (
        (hours.reference, hours.current, rate * RATE_SHARES["features"]),
        (hours.unseen, hours.scores, rate * RATE_SHARES["score"]),
    )
    for reference, current, of_rate in sides:
        if hours.is_enough(reference):
            found = _changes(reference, current, faults, of_rate, rows)
            nights = [night + more for night, more in zip(nights, found, strict=True)]
    expected = judge_quality(rows.model, rows.unseen())
    quality = None
    for number, night in enumerate(nights):
        day = rows.first + timedelta(days=number)
        days = rows.tonight if day == rows.day else rows.before
        quality = _quality_of(rows.model, days, day) if days else None
        of_rate = rate * RATE_SHARES["quality"]
        night += too_many_false_alarms(quality, expected, rows.model.contract, of_rate)
    return nights, quality


def _changes(
    reference: Hours, current: Hours, faults: list[SensorFault], rate: float, rows: NightRows
) -> list[list[Finding]]:
    """Drift in each night, without columns that have a sensor fault."""
    without = {(fault.device, column) for fault in faults for column in fault.columns}
    without |= {(device, "score") for device, _ in without}
    found = decision.find_drift(
        reference,
        current,
        false_discovery_rate=rate,
        by_device=rows.by_device,
        nights=rows.nights,
        without=without,
    )
    by_unit = dict(zip(current.units.tolist(), found, strict=True))
    last = _unit(rows.day)
    return [by_unit.get(unit, []) for unit in range(last - rows.nights, last + 1)]


def _unit(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _quality_of(model: ScoringModel, days: Days, day: date) -> Quality | None:
    """The quality of a day's labelled rows; of too many, those of evenly spaced devices."""
    rows = days.rows_by_device()
    step = max(1, -(-rows.total() // QUALITY_ROWS))
    return judge_quality(model, days.scored(model, day), sorted(rows)[::step])


def judge_quality(
    model: ScoringModel, scored: Iterable[pa.RecordBatch], devices: list[str] | None = None
) -> Quality | None:
    """Evaluate rows, of some devices, by the model's threshold; None without rows.

    They are those with a label or, if the model's contract names no labels, all.

    Args:
        scored: device, time, label and score.
    """
    pieces = []
    rows, has_labels = 0, model.contract.has_labels
    for batch in scored:
        label = batch["label"] if has_labels else batch["label"].fill_null(0)
        kept = label.is_valid()
        if devices is not None:
            kept = pc.and_(kept, pc.is_in(batch["device"], pa.array(devices, pa.string())))
        batch, label = batch.filter(kept), label.filter(kept)
        if len(batch) and rows < QUALITY_ROWS:
            rows += len(batch)
            score = batch["score"].cast(pa.float32())
            columns = [batch["device"].dictionary_encode(), batch["time"], label, score]
            pieces.append(pa.table(columns, names=["device", "time", "label", "score"]))
    if not pieces:
        return None
    table = pa.concat_tables(pieces).unify_dictionaries()
    interval = model.contract.interval_seconds
    card = scorecard(table, model.threshold, interval)
    return Quality(card, rows * interval / 86_400, has_labels)


def too_many_false_alarms(
    quality: Quality | None, unseen: Quality | None, contract: Contract, rate: float
) -> list[Finding]:
    """Find more false alarm episodes than the contract allows and than the model raised before.

    A Poisson test compares with the contract. The rows that the model was not trained on give a
    predictive distribution: Poisson with Jeffreys' prior, which is a negative binomial.

    Args:
        quality: of the day.
        unseen: of the rows of the training data that the model was not trained on.
        rate: allowed share of days with a finding among those without a change.
    """
    from scipy.special import betainc, pdtrc

    if not quality or not quality.card.false_episodes:
        return []
    found, days = quality.card.false_episodes, quality.device_days
    p_values, expected = [], []
    if contract.alarm.false_episodes_per_day is not None:
        expected.append(contract.alarm.false_episodes_per_day * days)
        p_values.append(float(pdtrc(found - 1, expected[0])))
    if unseen:
        before = unseen.card.false_episodes + 0.5
        expected.append(before * days / unseen.device_days)
        share = days / (days + unseen.device_days)
        p_values.append(float(betainc(found, before, share)))
    if not expected or max(p_values) > rate or found < MIN_RATIO * max(expected):
        return []
    return [Finding("false alarms", None, "rate", found / max(expected), max(p_values))]


def measure_false_alarms(hours: NightHours, rule: Drift, rate: float) -> FalseAlarms | None:
    """The promised rate of false alarms, and the rate on the training data; None if they are too
    short."""
    if not hours.is_enough(hours.reference):
        return None
    found = decision.replay(
        hours.reference,
        false_discovery_rate=rate * RATE_SHARES["features"],
        nights=rule.nights,
        by_device=hours.by_device,
    )
    woken = [
        bool(decision.confirmed(found[max(0, k - rule.nights) : k + 1], rule.confirmations))
        for k in range(len(found))
    ]
    return FalseAlarms(
        allowed_per_month=rule.false_alarms_per_month,
        replayed=len(found),
        suspected=sum(map(bool, found)),
        woken=sum(woken),
        woken_per_month=sum(woken) / len(found) * decision.MONTH_DAYS if found else None,
    )
