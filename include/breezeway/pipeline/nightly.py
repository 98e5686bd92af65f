"""The readings of a day beside those that the champion was trained on.

`breezeway.steps.drift` is the command.
"""

import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from breezeway.contract.contract import Contract, load_contract
from breezeway.contract.schema import Drift
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector import scorecard
from breezeway.detector.scoring import ScoringModel
from breezeway.drift import decision
from breezeway.drift.decision import Finding
from breezeway.drift.faults import SensorFault, sensor_faults
from breezeway.drift.hours import Hours
from breezeway.drift.report import sample, write_night
from breezeway.preprocessing.dataset import broken_expectations, make_features
from breezeway.preprocessing.days import lead_in, midnight, range_query
from breezeway.preprocessing.manifest import Manifest
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore
from breezeway.tracking import runs
from breezeway.tracking.load import load

log = logging.getLogger("breezeway.drift")

NAMED_CHANGES = 20
NAMED_FAULTS = 10
"""What a result of 4 KiB has room for."""
REPORTS = {"drift.html": "Drift", "findings.json": "Findings", "drift.json": "Evidently"}
RATE_SHARES = {"features": 0.8, "score": 0.1, "quality": 0.1}
"""Of the rate of false alarms, what each may use."""
MIN_RATIO = 1.25
"""More false alarms than expected, by a factor that matters."""
QUALITY_ROWS = 1_000_000
"""Of a day: with more, whole devices at even distances are judged."""
DUPLICATES = 5
"""Readings of a device at times that it had reported before: from so many on its clock is named."""
AHEAD = timedelta(minutes=5)
"""Readings dated further ahead of now come from a wrong clock."""


@dataclass(frozen=True)
class Day:
    """The readings of some days, checked and made into features.

    Args:
        folder: with `features/` and, if any row was bad, `quarantine/`.
        manifest: of the folder.
        broken: sentences on what breaks the contract in the batch as a whole.
    """

    folder: Path
    manifest: Manifest
    broken: list[str]


def check(name: str, version: str, day: date, settings: Settings) -> dict[str, Any]:
    """Check a day; the report goes to MLflow.

    Args:
        name, version: of the champion.
        day: UTC.

    Returns:
        The result of the step.

    Raises:
        ServiceUnavailable: MLflow or the raw store does not answer.
    """
    started = time.time()
    model = load(settings, name, version)
    settings.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="drift-", dir=settings.work))
    try:
        return _check(model, day, settings, work, started)
    finally:
        shutil.rmtree(work)


def _check(
    model: ScoringModel, day: date, settings: Settings, work: Path, started: float
) -> dict[str, Any]:
    rule = load_contract(settings.sensors).drift
    first = day - timedelta(days=rule.nights)
    before = None
    if rule.nights:
        before = _read(model, first, day - timedelta(days=1), settings, work / "before")
    tonight = _read(model, day, day, settings, work / "day")
    columns = model.feature_names
    files = versions.open_dataset(settings, model.data_tag).folder / "features"
    folders = [part.folder / "features" for part in (before, tonight) if part]

    def hours(batches: Iterable[pa.RecordBatch], names: list[str]) -> Hours:
        return Hours(_reader(batches, names), names, threads=settings.threads)

    def unknown() -> Iterator[pa.RecordBatch]:
        """Of the reference what the model was not trained on: it is surer of the rest."""
        others = _reference(model, files, first, day, trained=False)
        return _scored(model, _unseen(model, others))

    reference = hours(_reference(model, files, first, day), columns)
    current = hours(_batches(*folders), columns)
    unseen = hours(unknown(), ["score"])
    scores = hours(_scored(model, _batches(*folders)), ["score"])
    by_device = model.trained_on.devices is not None
    enough, enough_unseen = (
        len(side.devices if by_device else side.units) >= decision.MIN_UNITS
        for side in (reference, unseen)
    )
    faults = _sensor_faults(model, reference, current, tonight, day, settings, by_device)
    rate = min(0.5, rule.false_alarms_per_month / decision.MONTH_DAYS)
    nights: list[list[Finding]] = [[] for _ in range(rule.nights + 1)]
    if enough:
        rate_of = rate * RATE_SHARES["features"]
        nights = _judge(reference, current, faults, rate_of, rule.nights, day, by_device)
    if enough_unseen:
        rate_of = rate * RATE_SHARES["score"]
        of_scores = _judge(unseen, scores, faults, rate_of, rule.nights, day, by_device)
        nights = [night + more for night, more in zip(nights, of_scores, strict=True)]
    expected = _scorecard(model, unknown())
    quality = [
        _quality(model, part, at)
        for part, at in zip(
            [before] * rule.nights + [tonight],
            [first + timedelta(days=k) for k in range(rule.nights + 1)],
            strict=True,
        )
    ]
    for night, figures in zip(nights, quality, strict=True):
        night += _too_many_false_alarms(
            figures, expected, model.contract, rate * RATE_SHARES["quality"]
        )
    report = {
        "model_name": model.name,
        "model_version": model.version,
        "date": day.isoformat(),
        "rows": tonight.manifest.rows if tonight else 0,
        "quarantined": tonight.manifest.quarantined if tonight else 0,
        "reasons": tonight.manifest.reasons if tonight else {},
        "contract": tonight.broken if tonight else [],
        "reference": {
            "data_tag": model.data_tag,
            "days": len(reference.units),
            "days_of_scores": len(unseen.units) if enough_unseen else 0,
            "compared_by": _compared_by(reference, by_device),
        },
        "false_alarms": _false_alarms(reference, rule, rate, by_device) if enough else None,
        "quality": quality[-1],
        "sensor_faults": [asdict(fault) for fault in faults],
        "nights": [
            {
                "date": str(day - timedelta(days=rule.nights - k)),
                "found": [asdict(finding) for finding in night],
            }
            for k, night in enumerate(nights)
        ],
    }
    confirmed = decision.confirmed(nights, rule.confirmations)
    report["confirmed"] = [asdict(finding) for finding in confirmed]
    report |= _verdict(report, enough, confirmed, nights[-1], rule)
    for sentence in (*report["contract"], *faults, *nights[-1], report["reason"]):
        log.info("%s", sentence)
    reports = work / "reports"
    reports.mkdir()
    sides = _samples(model, files, first, day, tonight, reference.weekly)
    write_night(report, confirmed, nights[-1], faults, sides, [*columns, "score"], reports)
    return _result(report, _record(model, report, reports, settings, started))


# -- reading


def _read(
    model: ScoringModel, first: date, last: date, settings: Settings, folder: Path
) -> Day | None:
    """Check the readings of some days and make features of them; None where there are none."""
    store = RawStore(settings.raw_address)
    if not store.count_by_day(first, last):
        return None
    contract = model.contract
    folder.mkdir()
    query = range_query(contract, first, last)

    def chunks() -> Iterator[pa.Table]:
        yield lead_in(store, contract, set(store.devices_of(first)), first)
        yield from store.stream(query, label=contract.label.column)

    labels = LabelStore(settings.raw_address).labels_of(contract)
    spec = DatasetSpec(contract, query, labels, since=midnight(first))
    manifest, results = make_features(chunks(), spec, folder, settings)
    return Day(folder, manifest, list(broken_expectations(contract, manifest, results)))


def _batches(*folders: Path) -> Iterator[pa.RecordBatch]:
    """The rows of folders of features, few at a time."""
    for folder in folders:
        for batch in ds.dataset(folder).to_batches(**decision.FEW_BATCHES):
            if len(batch):
                yield batch


def _scored(model: ScoringModel, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if len(batch):
            yield batch.append_column("score", pa.array(_score(model, batch)))


def _score(model: ScoringModel, batch: pa.RecordBatch) -> np.ndarray:
    columns = [batch[name].to_numpy(zero_copy_only=False) for name in model.feature_names]
    return model.score(np.column_stack(columns))


def _reference(
    model: ScoringModel, files: Path, first: date, last: date, trained: bool = True
) -> Iterator[pa.RecordBatch]:
    """The dataset that the model comes from, without the days that are judged.

    Args:
        trained: where devices are the units, whether those that it was trained on are meant, or
            the others.
    """
    start, end = (
        pa.scalar(midnight(day), pa.timestamp("us", "UTC"))
        for day in (first, last + timedelta(days=1))
    )
    devices = model.trained_on.devices
    for batch in _batches(files):
        kept = pc.or_(pc.less(batch["time"], start), pc.greater_equal(batch["time"], end))
        if devices is not None:
            known = pc.is_in(batch["device"], pa.array(sorted(devices)))
            kept = pc.and_(kept, known if trained else pc.invert(known))
        yield batch.filter(kept)


def _unseen(model: ScoringModel, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows that the model was not trained on."""
    for batch in batches:
        yield batch.filter(pa.array(~model.trained_on.covers(batch["device"], batch["time"])))


def _reader(batches: Iterable[pa.RecordBatch], columns: list[str]) -> pa.RecordBatchReader:
    schema = pa.schema(
        [
            ("device", pa.string()),
            ("time", pa.timestamp("us", tz="UTC")),
            *((name, pa.float64()) for name in columns),
        ]
    )
    return pa.RecordBatchReader.from_batches(
        schema, (batch.select(schema.names) for batch in batches)
    )


def _samples(
    model: ScoringModel,
    files: Path,
    first: date,
    day: date,
    tonight: Day | None,
    weekly: bool,
) -> tuple[pa.Table, pa.Table] | None:
    """Rows of the reference and of the day, for pictures; None where one side has none."""
    if not tonight or not tonight.manifest.rows:
        return None
    batches = _reference(model, files, first, day)
    count = ds.dataset(files).count_rows()
    if weekly:  # the same day of the week: its season is no difference
        weekday = day.isoweekday()
        batches = (
            batch.filter(pc.equal(pc.day_of_week(batch["time"], count_from_zero=False), weekday))
            for batch in batches
        )
        count //= 7
    rows = _batches(tonight.folder / "features")
    old = sample(_scored(model, batches), count)
    new = sample(_scored(model, rows), tonight.manifest.rows)
    return (old, new) if len(old) and len(new) else None


# -- judging


def _judge(
    reference: Hours,
    current: Hours,
    faults: list[SensorFault],
    rate: float,
    nights: int,
    day: date,
    by_device: bool,
) -> list[list[Finding]]:
    """What is found in each night, the last one last."""
    without = {(fault.device, column) for fault in faults for column in fault.columns}
    without |= {(device, "score") for device, _ in without}
    found = decision.find_drift(
        reference,
        current,
        false_discovery_rate=rate,
        by_device=by_device,
        nights=nights,
        without=without,
    )
    by_unit = dict(zip(current.units.tolist(), found, strict=True))
    last = _unit(day)
    return [by_unit.get(unit, []) for unit in range(last - nights, last + 1)]


def _unit(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _sensor_faults(
    model: ScoringModel,
    reference: Hours,
    current: Hours,
    tonight: Day | None,
    day: date,
    settings: Settings,
    by_device: bool,
) -> list[SensorFault]:
    columns = tuple(reference.columns)
    faults = []
    if not by_device and len(reference.units) >= decision.MIN_UNITS:
        faults += sensor_faults(reference, current, _unit(day))
    now = datetime.now(UTC)
    if day >= now.date() - timedelta(days=1):
        ahead = RawStore(settings.raw_address).devices_ahead(now + AHEAD)
        for device, (count, latest) in ahead.items():
            detail = f"{count} readings are dated ahead of now, up to {latest:%Y-%m-%d %H:%M}"
            faults.append(SensorFault(device, "clock", detail, columns))
    if tonight and (tonight.folder / "quarantine").is_dir():
        faults += _quarantine_faults(model, tonight, columns)
    return _one_a_kind(faults)


def _quarantine_faults(
    model: ScoringModel, tonight: Day, columns: tuple[str, ...]
) -> list[SensorFault]:
    good = _rows_by_device(tonight.folder / "features")
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
        if reasons.total() > model.contract.quarantine.max_share * rows:
            (most, count), *_ = reasons.most_common(1)
            detail = f"{reasons.total()} of {rows} readings break the contract, {count} by {most}"
            faults.append(SensorFault(device, "invalid", detail))
    return faults


def _rows_by_device(folder: Path) -> Counter[str]:
    rows: Counter[str] = Counter()
    for batch in ds.dataset(folder).to_batches(columns=["device"]):
        for entry in pc.value_counts(batch["device"]).to_pylist():
            rows[entry["values"]] += entry["counts"]
    return rows


def _one_a_kind(faults: list[SensorFault]) -> list[SensorFault]:
    """One fault of a kind for each device; what its clock or its payloads explain is no silence."""
    wrong = {fault.device for fault in faults if fault.fault in ("clock", "invalid")}
    kept = {
        (fault.device, fault.fault): fault
        for fault in faults
        if not (fault.fault == "silent" and fault.device in wrong)
    }
    return [kept[key] for key in sorted(kept)]


def _quality(model: ScoringModel, part: Day | None, day: date) -> dict[str, Any] | None:
    """The scorecard of a day's labelled rows; None where none has a label."""
    if part is None:
        return None
    start, end = (
        pa.scalar(midnight(at), pa.timestamp("us", "UTC")) for at in (day, day + timedelta(days=1))
    )
    devices = _devices_to_judge(part)
    batches = (
        batch.filter(pc.and_(pc.greater_equal(batch["time"], start), pc.less(batch["time"], end)))
        for batch in _batches(part.folder / "features")
    )
    return _scorecard(model, _scored(model, batches), devices)


def _scorecard(
    model: ScoringModel, batches: Iterable[pa.RecordBatch], devices: list[str] | None = None
) -> dict[str, Any] | None:
    """Of the labelled rows, of some devices; None where there are none."""
    pieces = []
    rows = 0
    for batch in batches:
        kept = batch["label"].is_valid()
        if devices is not None:
            kept = pc.and_(kept, pc.is_in(batch["device"], pa.array(devices, pa.string())))
        batch = batch.filter(kept)
        if len(batch) and rows < QUALITY_ROWS:
            rows += len(batch)
            score = batch["score"].cast(pa.float32())
            columns = [batch["device"].dictionary_encode(), batch["time"], batch["label"], score]
            pieces.append(pa.table(columns, names=["device", "time", "label", "score"]))
    if not pieces:
        return None
    table = pa.concat_tables(pieces).unify_dictionaries()
    interval = model.contract.interval_seconds
    return {
        **scorecard.scorecard(table, model.threshold, interval).figures(),
        "device_days": rows * interval / 86_400,
    }


def _devices_to_judge(part: Day) -> list[str]:
    rows = _rows_by_device(part.folder / "features")
    step = max(1, -(-rows.total() // QUALITY_ROWS))
    return sorted(rows)[::step]


def _too_many_false_alarms(
    figures: dict[str, Any] | None,
    unseen: dict[str, Any] | None,
    contract: Contract,
    rate: float,
) -> list[Finding]:
    """More false alarm episodes than the contract allows, and than the model has given before.

    Against the contract by a Poisson test; against the rows that the model was not trained on by
    what these let expect: the Poisson distribution with Jeffreys' prior, a negative binomial.

    Args:
        figures: the day's scorecard.
        unseen: of the rows of the training data that the model was not trained on.
    """
    from scipy.special import betainc, pdtrc

    if not figures or not figures["false_episodes"]:
        return []
    found, days = figures["false_episodes"], figures["device_days"]
    p_values, expected = [], []
    if contract.alarm.false_episodes_per_day is not None:
        expected.append(contract.alarm.false_episodes_per_day * days)
        p_values.append(float(pdtrc(found - 1, expected[0])))
    if unseen:
        before = unseen["false_episodes"] + 0.5
        expected.append(before * days / unseen["device_days"])
        share = days / (days + unseen["device_days"])
        p_values.append(float(betainc(found, before, share)))
    if not expected or max(p_values) > rate or found < MIN_RATIO * max(expected):
        return []
    return [Finding("false alarms", None, "rate", found / max(expected), max(p_values))]


def _false_alarms(reference: Hours, rule: Drift, rate: float, by_device: bool) -> dict[str, Any]:
    """What was promised, and what the reference by itself would have given."""
    found = decision.replay(
        reference,
        false_discovery_rate=rate * RATE_SHARES["features"],
        nights=rule.nights,
        by_device=by_device,
    )
    woken = [
        bool(decision.confirmed(found[max(0, k - rule.nights) : k + 1], rule.confirmations))
        for k in range(len(found))
    ]
    return {
        "allowed_per_month": rule.false_alarms_per_month,
        "replayed": len(found),
        "suspected": sum(map(bool, found)),
        "woken": sum(woken),
        "woken_per_month": sum(woken) / len(found) * decision.MONTH_DAYS if found else None,
    }


def _compared_by(reference: Hours, by_device: bool) -> str:
    if by_device:
        return "device"
    return "hour of the week" if reference.weekly else "hour of the day"


def _verdict(
    report: dict[str, Any],
    enough: bool,
    confirmed: list[Finding],
    found: list[Finding],
    rule: Drift,
) -> dict[str, str]:
    if not enough:
        return {
            "verdict": "not judged",
            "reason": f"The training data have {report['reference']['days']} days beside those "
            f"that are judged; what is usual is not known from less than {decision.MIN_UNITS}.",
        }
    if confirmed:
        return {
            "verdict": "drifted",
            "reason": f"Found, and in at least {rule.confirmations} of the {rule.nights} nights "
            f"before: {confirmed[0]}{_and_more(confirmed)}.",
        }
    if not report["rows"]:
        return {"verdict": "not judged", "reason": "There is not one good reading of that day."}
    if found:
        return {
            "verdict": "suspected",
            "reason": f"Found, but not confirmed by the nights before: {found[0]}"
            f"{_and_more(found)}.",
        }
    return {"verdict": "quiet", "reason": "Nothing has changed by more than chance."}


def _and_more(findings: list[Finding]) -> str:
    return f", and {len(findings) - 1} more" if len(findings) > 1 else ""


# -- telling


def _record(
    model: ScoringModel, report: dict[str, Any], reports: Path, settings: Settings, started: float
) -> str:
    """Keep the reports in an MLflow run."""
    metrics = {
        "rows": report["rows"],
        "quarantined": report["quarantined"],
        "drifted": len(report["confirmed"]),
        "suspected": len(report["nights"][-1]["found"]) - len(report["confirmed"]),
        "sensor_faults": len(report["sensor_faults"]),
        **{
            name: value
            for name, value in (report["quality"] or {}).items()
            if name != "rows" and value is not None
        },
    }
    tags = {"date": report["date"], "verdict": report["verdict"]}
    name, experiment = f"drift {model.name} {report['date']}", model.contract.name
    with runs.recorded(settings, experiment, name, started=started, tags=tags) as run_id:
        import mlflow

        mlflow.log_metrics(metrics)
        about = f"{model.name}/{model.version}"
        runs.add_reports(settings, run_id, reports, REPORTS, step="drift", about=about)
    return run_id


def _result(report: dict[str, Any], run_id: str) -> dict[str, Any]:
    same = ("model_name", "model_version", "date", "rows", "quarantined", "verdict")
    place = ("column", "device", "change")
    return {
        **{name: report[name] for name in same},
        "reason": report["reason"][:300],
        "drifted": [
            {name: found[name] for name in place} for found in report["confirmed"][:NAMED_CHANGES]
        ],
        "drifted_count": len(report["confirmed"]),
        "suspected_count": len(report["nights"][-1]["found"]) - len(report["confirmed"]),
        "sensor_faults": [
            {"device": f["device"], "fault": f["fault"], "detail": f["detail"][:100]}
            for f in report["sensor_faults"][:NAMED_FAULTS]
        ],
        "sensor_fault_count": len(report["sensor_faults"]),
        "run_id": run_id,
    }
