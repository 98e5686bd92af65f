"""A night on a small plant: which rows are compared, what is found, what is said of it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.schema import Drift
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.scorecard import scorecard
from breezeway.detector.scoring import ScoringModel
from breezeway.drift.decision import Finding
from breezeway.drift.faults import SensorFault
from breezeway.drift.night import Known, Night, NightReport, Reference
from breezeway.pipeline import nightly, nightly_findings
from breezeway.pipeline.in_service import Judge
from breezeway.pipeline.nightly_findings import NightHours, Quality
from breezeway.pipeline.nightly_rows import Days, NightRows, batches
from breezeway.preprocessing.manifest import Manifest, RawSummary
from breezeway.steps.runner import RESULT_LIMIT_BYTES
from tests.fixtures.mill import (
    FIRST,
    LAST,
    TRAINED_UNTIL,
    make_champion,
    make_contract,
    rows_of,
    write_rows,
)

RULE = Drift()


@pytest.fixture(scope="module")
def contract() -> Contract:
    return make_contract()


@pytest.fixture(scope="module")
def champion(contract) -> ScoringModel:
    return make_champion(contract)


def days(table: pa.Table, folder: Path) -> Days:
    raw = RawSummary(rows=len(table), first_time=None, last_time=None, sha256="0")
    manifest = Manifest(
        contract="mill", query="", raw=raw, rows=len(table), quarantined=0, reasons={}, features=[]
    )
    return Days(write_rows(table, folder), manifest, [], ZoneInfo("UTC"))


def night_rows(contract: Contract, champion: ScoringModel, folder: Path) -> NightRows:
    """The night of the last day of the training data, and two nights before."""
    return NightRows(
        model=champion,
        training_data=write_rows(rows_of(contract, FIRST, LAST), folder / "dataset") / "features",
        day=LAST,
        zone=ZoneInfo("UTC"),
        nights=2,
        before=days(rows_of(contract, LAST - timedelta(2), LAST - timedelta(1), 1), folder / "b"),
        tonight=days(rows_of(contract, LAST, LAST, 2), folder / "tonight"),
        judged=champion,
    )


@pytest.fixture
def rows(contract, champion, tmp_path) -> NightRows:
    return night_rows(contract, champion, tmp_path)


@pytest.fixture(scope="module")
def hours(contract, champion, tmp_path_factory) -> NightHours:
    folder = tmp_path_factory.mktemp("night")
    return NightHours.of(night_rows(contract, champion, folder), threads=1)


def dates(stream: Iterator[pa.RecordBatch]) -> set[date]:
    return {time.date() for batch in stream for time in batch["time"].to_pylist()}


def test_the_training_data_are_compared_without_the_judged_days(rows):
    assert dates(rows.current()) == {LAST - timedelta(days=k) for k in range(3)}
    expected = {FIRST + timedelta(days=k) for k in range(18)}
    assert dates(rows.reference()) == expected
    assert dates(rows.unseen()) == {day for day in expected if day >= TRAINED_UNTIL}


def test_where_devices_are_the_units_others_say_what_is_usual_of_scores(rows):
    scope = TrainingScope(int(np.datetime64("2027-01-01", "us").astype(int)), frozenset(["mill-0"]))
    model = replace(rows.model, trained_on=scope)
    by_device = replace(rows, model=model, judged=model)
    known, others = by_device.reference(), by_device.unseen()
    assert {name for batch in known for name in batch["device"].to_pylist()} == {"mill-0"}
    batch, *_ = others
    assert set(batch["device"].to_pylist()) == {"mill-1", "mill-2"}
    assert batch["score"].to_pylist() == rows.model.score_readings(batch).tolist()


def test_pictures_show_the_same_day_of_the_week(rows):
    old, new = rows.samples(weekly=True)
    assert {time.isoweekday() for time in old["time"].to_pylist()} == {LAST.isoweekday()}
    assert {time.date() for time in new["time"].to_pylist()} == {LAST}
    assert replace(rows, tonight=None).samples(weekly=True) is None


def test_quality_is_the_scorecard_of_the_days_labelled_rows(rows, contract):
    found = nightly_findings.judge_quality(rows.model, rows.tonight.scored(rows.model, LAST))
    table = pa.Table.from_batches(batches(rows.tonight.folder / "features"))
    scores = pa.array(rows.model.score_readings(table).astype(np.float32))
    expected = scorecard(table.append_column("score", scores), 0.5, contract.interval_seconds)
    assert (found.card, found.device_days) == (expected, 3.0)
    assert list(rows.tonight.scored(rows.model, LAST - timedelta(1))) == []
    assert nightly_findings.judge_quality(rows.model, []) is None


def quality(rows: NightRows, false_episodes: int, device_days: float) -> Quality:
    found = nightly_findings.judge_quality(rows.model, rows.tonight.scored(rows.model, LAST))
    return Quality(replace(found.card, false_episodes=false_episodes), device_days)


def test_false_alarms_beyond_contract_and_habit_are_a_finding(rows, contract):
    def found(false_episodes: int, unseen: Quality | None = None) -> list[Finding]:
        of_night = quality(rows, false_episodes, 3.0)
        return nightly_findings.too_many_false_alarms(of_night, unseen, contract, 0.01)

    assert found(0) == []
    assert found(6) == [], "two a day of a device are allowed"
    (finding,) = found(30)
    assert (finding.column, finding.change, finding.effect) == ("false alarms", "rate", 5.0)
    assert found(30, quality(rows, 100, 10.0)) == [], "it has always been so"
    assert found(30, quality(rows, 1, 10.0))


def test_repeated_and_broken_readings_are_faults_of_their_device(rows, contract):
    reasons = [("mill-0", "duplicate_time", "time")] * 7 + [("mill-1", "range", "torque")] * 9
    quarantine = rows.tonight.folder / "quarantine"
    quarantine.mkdir()
    columns = zip(*reasons, strict=True)
    table = pa.table(dict(zip(("device", "reason", "field"), map(list, columns), strict=True)))
    pq.write_table(table, quarantine / "part-00000.parquet")
    found = nightly_findings.quarantine_faults(contract, rows.tonight, ("torque",))
    assert [(fault.device, fault.fault, fault.columns) for fault in found] == [
        ("mill-0", "clock", ("torque",)),
        ("mill-1", "invalid", ()),
    ]
    assert "9 by range of torque" in found[1].detail


def test_a_quiet_night_and_one_that_has_shifted(rows, contract, tmp_path):
    def report(tonight: pa.Table, before: Days | None) -> NightReport:
        night = replace(rows, before=before, tonight=days(tonight, tmp_path / "other"))
        hours = NightHours.of(night, threads=1)
        return nightly.make_report(night, hours, [], RULE, Judge("1", True, "It served."))

    rule_nights = replace(rows, nights=RULE.nights)
    first = rule_nights.first
    rows = rule_nights
    quiet = rows_of(contract, LAST, LAST, 5)
    calm = days(rows_of(contract, first, LAST - timedelta(1), 3), tmp_path / "calm")
    found = report(quiet, calm)
    assert (found.verdict, len(found.nights)) == ("quiet", RULE.nights + 1)
    assert found.reference == Reference("v1", 21 - RULE.nights - 1, 0, "hour of the day")
    (tmp_path / "other").rename(tmp_path / "quiet")
    column = contract.feature_names[0]
    shifted = quiet.set_column(2, column, pa.compute.add(quiet[column], 4.0))
    found = report(shifted, calm)
    assert found.verdict == "suspected"
    assert column in {finding.column for finding in found.nights[-1].found}


@pytest.mark.parametrize(
    ("good_rows", "confirmed", "found", "verdict"),
    [
        (10, True, True, "drifted"),
        (0, False, False, "not judged"),
        (10, False, True, "suspected"),
        (10, False, False, "quiet"),
    ],
)
def test_the_verdict(hours, good_rows, confirmed, found, verdict):
    change = [Finding("torque", None, "level", 1.5, 1e-9)]
    said, reason = nightly.decide(hours, good_rows, change * confirmed, change * found, RULE)
    assert said == verdict
    assert ("torque is +1.50 standard deviations" in reason) == found


def test_without_enough_training_data_nothing_is_judged(rows, contract, tmp_path):
    short = write_rows(rows_of(contract, FIRST, FIRST + timedelta(3)), tmp_path / "short")
    hours = NightHours.of(replace(rows, training_data=short / "features"), threads=1)
    said, reason = nightly.decide(hours, 10, [], [], RULE)
    assert (said, "have 4 days" in reason) == ("not judged", True)


def test_a_result_has_room_in_a_termination_message():
    many = [Finding("x" * 40, "d" * 40, "profile", 1.0, 0.01)] * 300
    faults = [SensorFault("d" * 40, "invalid", "z" * 500)] * 300
    report = NightReport(
        model_name="m" * 63,
        model_version="12345",
        was_in_service=False,
        judged_by="j" * 500,
        date="2026-03-22",
        rows=10**9,
        quarantined=10**9,
        reasons={},
        contract=[],
        reference=Reference("v1", 20, 0, "hour of the week"),
        known=Known("2026-03-02", "2026-03-16T00:00:00+00:00", "2026-03-16T00:00:00+00:00"),
        false_alarms=None,
        quality=None,
        sensor_faults=faults,
        nights=[Night("2026-03-22", many)],
        confirmed=many[:200],
        verdict="drifted",
        reason="r" * 2000,
    )
    result = nightly.result_of(report, "0" * 32)
    assert len(json.dumps(result, separators=(",", ":")).encode()) < RESULT_LIMIT_BYTES
    assert (result["drifted_count"], result["suspected_count"]) == (200, 100)
    assert len(result["drifted"]) > 5
    assert len(result["sensor_faults"]) > 5
