"""Compares the readings of a day with the training data of the model that was in service.

`breezeway.steps.drift` is the command.
"""

import json
import logging
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from breezeway.contract.contract import Contract, load_contract
from breezeway.contract.schema import Drift
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector.scoring import ScoringModel
from breezeway.drift import decision
from breezeway.drift.decision import Finding
from breezeway.drift.faults import SensorFault
from breezeway.drift.night import Known, Night, NightReport, Reference, write_night
from breezeway.pipeline.gaps import find_absent
from breezeway.pipeline.in_service import Judge
from breezeway.pipeline.nightly_findings import (
    NightHours,
    find_faults,
    judge_nights,
    measure_false_alarms,
)
from breezeway.pipeline.nightly_rows import NightRows, read_days
from breezeway.tracking import runs
from breezeway.tracking.load import load
from breezeway.tracking.nights import Absent, absent_tag

log = logging.getLogger("breezeway.drift")

NAMED_CHANGES = 20
NAMED_FAULTS = 10
NAMED_DAYS = 28
RESULT_BYTES = 3700
"""Limit of a result, which may have 4 KiB; with long names it names fewer changes and faults."""
REPORTS = {
    "drift.html": "Drift",
    "findings.json": "Findings (JSON)",
    "drift.json": "Evidently (JSON)",
}


def check(name: str, judge: Judge, day: date, settings: Settings) -> dict[str, Any]:
    """Check a day, and log the report to MLflow.

    Args:
        name: of the model.
        judge: its version that judges the day.
        day: of the contract's zone.

    Returns:
        The result of the step.

    Raises:
        ServiceUnavailable: MLflow or the raw store does not answer.
    """
    started = time.time()
    model = load(settings, name, judge.version)
    with scratch(settings, "drift") as work:
        return _check(model, judge, day, settings, work, started)


def _check(
    model: ScoringModel, judge: Judge, day: date, settings: Settings, work: Path, started: float
) -> dict[str, Any]:
    contract = load_contract(settings.sensors)
    rule = contract.drift
    absent = find_absent(settings, model.name, day)
    rows = _read(model, day, contract, settings, work)
    hours = NightHours.of(rows, settings.threads)
    faults = find_faults(rows, hours, settings)
    report = make_report(rows, hours, faults, rule, judge)
    report = replace(report, missing=sentences_on(absent))
    found = report.nights[-1].found
    told = (report.judged_by, *report.missing, *report.contract, *faults, *found, report.reason)
    for sentence in told:
        log.info("%s", sentence)
    reports = work / "reports"
    reports.mkdir()
    sides = rows.samples(hours.reference.weekly)
    write_night(report, sides, [*model.feature_names, "score"], reports)
    run_id = _record(model, report, absent, reports, settings, started)
    return result_of(report, run_id) | {
        "absent_nights": len(absent.nights),
        "absent_days": len(absent.days),
        "late_days": len(absent.late),
    }


def sentences_on(absent: Absent) -> list[str]:
    """What was missing when a night was checked, for a person."""
    said = []
    for what, days in (
        ("These nights were not checked", absent.nights),
        ("These days have readings and are not published by history", absent.days),
        ("Too old to be made again by themselves, these days have late readings", absent.late),
    ):
        if days:
            named = ", ".join(map(str, days[-NAMED_DAYS:]))
            more = f", and {len(days) - NAMED_DAYS} before" if len(days) > NAMED_DAYS else ""
            said.append(f"{what}: {named}{more}.")
    return said


def _read(
    model: ScoringModel, day: date, contract: Contract, settings: Settings, work: Path
) -> NightRows:
    nights, zone, before = contract.drift.nights, contract.zone, None
    if nights:
        first, last = day - timedelta(days=nights), day - timedelta(days=1)
        before = read_days(model, first, last, zone, settings, work / "before")
    tonight = read_days(model, day, day, zone, settings, work / "day")
    dataset = versions.open_dataset(settings, model.data_tag)
    judged = load(settings, model.name, model.version, judged=True) if model.again else model
    return NightRows(model, dataset.folder / "features", day, zone, nights, before, tonight, judged)


def make_report(
    rows: NightRows, hours: NightHours, faults: list[SensorFault], rule: Drift, judge: Judge
) -> NightReport:
    """Judge the nights, and make the report."""
    rate = min(0.5, rule.false_alarms_per_month / decision.MONTH_DAYS)
    nights, quality = judge_nights(rows, hours, faults, rule, rate)
    confirmed = decision.confirmed(nights, rule.confirmations)
    manifest = rows.tonight.manifest if rows.tonight else None
    good_rows = manifest.rows if manifest else 0
    verdict, reason = decide(hours, good_rows, confirmed, nights[-1], rule)
    unseen_days = len(hours.unseen.units) if hours.is_enough(hours.unseen) else 0
    return NightReport(
        model_name=rows.model.name,
        model_version=rows.model.version,
        was_in_service=judge.was_in_service,
        judged_by=judge.why,
        date=rows.day.isoformat(),
        rows=good_rows,
        quarantined=manifest.quarantined if manifest else 0,
        reasons=manifest.reasons if manifest else {},
        contract=rows.tonight.broken if rows.tonight else [],
        reference=Reference(
            data_tag=rows.model.data_tag,
            days=len(hours.reference.units),
            days_of_scores=unseen_days,
            compared_by=hours.compared_by,
        ),
        known=_known(rows, hours),
        false_alarms=measure_false_alarms(hours, rule, rate),
        quality=quality.figures() if quality else None,
        sensor_faults=faults,
        nights=[
            Night(str(rows.first + timedelta(days=number)), night)
            for number, night in enumerate(nights)
        ],
        confirmed=confirmed,
        verdict=verdict,
        reason=reason,
    )


def _known(rows: NightRows, hours: NightHours) -> Known:
    units = hours.reference.units
    first = date(1970, 1, 1) + timedelta(days=int(units[0])) if len(units) else None
    return Known(
        first=first.isoformat() if first else None,
        until=rows.model.trained_on.until_text,
        judged_until=rows.judged.trained_on.until_text,
    )


def decide(
    hours: NightHours, rows: int, confirmed: list[Finding], found: list[Finding], rule: Drift
) -> tuple[str, str]:
    """The verdict on a night, and its reason (one sentence for a person).

    Args:
        rows: good readings of the day.
        confirmed, found: confirmed changes of the night, and all changes.
    """
    if not hours.is_enough(hours.reference):
        return "not judged", (
            f"The training data have {len(hours.reference.units)} days beside those that are "
            f"judged; at least {decision.MIN_UNITS} are needed."
        )
    if confirmed:
        return "drifted", (
            f"Found, and in at least {rule.confirmations} of the {rule.nights} nights before: "
            f"{confirmed[0]}{_and_more(confirmed)}."
        )
    if not rows:
        return "not judged", "There is not one good reading of that day."
    if found:
        return "suspected", (
            f"Found, but not confirmed by the nights before: {found[0]}{_and_more(found)}."
        )
    return "quiet", "Nothing has changed by more than chance."


def _and_more(findings: list[Finding]) -> str:
    return f", and {len(findings) - 1} more" if len(findings) > 1 else ""


def _record(
    model: ScoringModel,
    report: NightReport,
    absent: Absent,
    reports: Path,
    settings: Settings,
    started: float,
) -> str:
    """Log the reports to an MLflow run."""
    quality = report.quality or {}
    metrics = {
        "rows": report.rows,
        "quarantined": report.quarantined,
        "drifted": len(report.confirmed),
        "suspected": report.suspected,
        "sensor_faults": len(report.sensor_faults),
        **{name: v for name, v in quality.items() if name != "rows" and v is not None},
    }
    tags = {
        "date": report.date,
        "verdict": report.verdict,
        "was_in_service": str(report.was_in_service).lower(),
        **absent_tag(absent),
    }
    name, experiment = f"drift {model.name} {report.date}", model.contract.name
    with runs.recorded(settings, experiment, name, started=started, tags=tags) as run_id:
        import mlflow

        mlflow.log_metrics(metrics)
        about = f"{model.name}/{model.version}"
        runs.add_reports(settings, run_id, reports, REPORTS, step="drift", about=about)
    return run_id


def result_of(report: NightReport, run_id: str) -> dict[str, Any]:
    """The result of the step, with as many changes and faults as fit."""
    result: dict[str, Any] = {
        "model_name": report.model_name,
        "model_version": report.model_version,
        "was_in_service": report.was_in_service,
        "judged_by": report.judged_by[:300],
        "date": report.date,
        "rows": report.rows,
        "quarantined": report.quarantined,
        "verdict": report.verdict,
        "reason": report.reason[:300],
        "drifted": [
            {"column": found.column, "device": found.device, "change": found.change}
            for found in report.confirmed[:NAMED_CHANGES]
        ],
        "drifted_count": len(report.confirmed),
        "suspected_count": report.suspected,
        "sensor_faults": [
            {"device": fault.device, "fault": fault.fault, "detail": fault.detail[:100]}
            for fault in report.sensor_faults[:NAMED_FAULTS]
        ],
        "sensor_fault_count": len(report.sensor_faults),
        "run_id": run_id,
    }
    named = [result["drifted"], result["sensor_faults"]]
    while len(json.dumps(result, ensure_ascii=False).encode()) > RESULT_BYTES and any(named):
        max(named, key=len).pop()
    return result
