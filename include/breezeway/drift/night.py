"""What a nightly check found, for a program (`findings.json`) and for a person (`drift.html`)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa

from breezeway.core.errors import DataError
from breezeway.core.files import write_json, write_text
from breezeway.drift.decision import Finding
from breezeway.drift.faults import SensorFault
from breezeway.drift.page import about_plots, beginning, escaped, table
from breezeway.drift.report import report_drift


@dataclass(frozen=True)
class Reference:
    """The training data that a day is compared with.

    Args:
        data_tag: the dataset version.
        days: of it, without those that are judged.
        days_of_scores: those of them that the model was not trained on; 0 if they are too few.
        compared_by: what is compared: the same `hour of the week`, `hour of the day` or `device`.
    """

    data_tag: str
    days: int
    days_of_scores: int
    compared_by: str


@dataclass(frozen=True)
class Known:
    """The readings that the model knows (ISO 8601; moments in UTC).

    Args:
        first: the first day of its dataset, without the days that are judged; None if none is left.
        until: the fit that serves was trained on readings before this time.
        judged_until: the same of the fit that was evaluated before the promotion.
    """

    first: str | None
    until: str
    judged_until: str


@dataclass(frozen=True)
class FalseAlarms:
    """The rate that the contract promises, and the rate on the training data themselves.

    Args:
        allowed_per_month: by the contract.
        replayed: days or devices of the training data that were compared with the others.
        suspected, woken: how many of them were suspected, and how many were confirmed.
        woken_per_month: None if nothing was replayed.
    """

    allowed_per_month: float
    replayed: int
    suspected: int
    woken: int
    woken_per_month: float | None


@dataclass(frozen=True)
class Night:
    """The findings of a day (ISO 8601)."""

    date: str
    found: list[Finding]


@dataclass(frozen=True)
class NightReport:
    """A nightly check.

    Args:
        was_in_service: whether the model is recorded to have served when the day ended.
        judged_by: why it judges the day, in one sentence.
        date: the day that was checked (ISO 8601).
        rows, quarantined: its readings, good and bad.
        reasons: the number of bad readings for each reason.
        contract: sentences on the rules that the day as a whole breaks.
        false_alarms: None if the training data are too short.
        quality: metrics of the labelled readings or, without labels in the contract, how many
            alarms there were; None if there are none.
        nights: the nights before and, last, that of the day.
        confirmed: changes of the day that were found in the nights before as well.
        verdict: `quiet`, `suspected`, `drifted` or `not judged`.
        reason: of the verdict, in one sentence.
        missing: sentences on nights that were not checked and days that were not published.
    """

    model_name: str
    model_version: str
    was_in_service: bool
    judged_by: str
    date: str
    rows: int
    quarantined: int
    reasons: Mapping[str, int]
    contract: list[str]
    reference: Reference
    known: Known
    false_alarms: FalseAlarms | None
    quality: Mapping[str, float | int | None] | None
    sensor_faults: list[SensorFault]
    nights: list[Night]
    confirmed: list[Finding]
    verdict: str
    reason: str
    missing: list[str] = field(default_factory=list)

    @property
    def suspected(self) -> int:
        """How many changes of the day are not confirmed."""
        return len(self.nights[-1].found) - len(self.confirmed)


def write_night(
    report: NightReport,
    sides: tuple[pa.Table, pa.Table] | None,
    columns: list[str],
    folder: Path,
) -> None:
    """Write the nightly report: `findings.json`, and `drift.html` with Evidently's plots.

    Args:
        sides: rows of the reference and of the night for the plots; None for no plots.
        columns: float64 columns of both.
        folder: where the files go; `drift.json` is Evidently's.
    """
    write_json(folder / "findings.json", asdict(report))
    if not sides:
        _write_without_plots(report, "There are no readings to draw.", folder)
        return
    note = about_plots(sides, f"the day's {report.rows}")
    try:
        report_drift(*sides, columns, folder, preface=_page(report, note))
    except DataError as error:
        _write_without_plots(report, str(error), folder)


def _write_without_plots(report: NightReport, note: str, folder: Path) -> None:
    page = (
        "<!doctype html><html><head><meta charset='utf-8'></head>"
        f"<body>{_page(report, note)}</body></html>\n"
    )
    write_text(folder / "drift.html", page)


def _page(report: NightReport, note: str) -> str:
    reference = report.reference
    parts = [
        beginning(f"{report.model_name}, {report.date}", report.verdict),
        f"<p>{escaped(report.reason)}</p>",
        f"<p>{escaped(report.judged_by)}</p>",
        *(f"<p>{escaped(sentence)}</p>" for sentence in report.missing),
        f"<p>Compared with what version {escaped(report.model_version)} was trained on: dataset "
        f"{escaped(reference.data_tag)}, {reference.days} days, matched by "
        f"{reference.compared_by}. {escaped(_scores(reference.days_of_scores))}</p>",
        f"<p>{escaped(_knows(report))}</p>",
        f"<p>{escaped(_promise(report.false_alarms))}</p>",
    ]
    here = {finding.place for finding in report.confirmed}
    parts += table(
        "What has changed",
        ["column", "device", "change", "p", "nights before"],
        [
            [
                finding.column,
                finding.device or "all",
                str(finding),
                f"{finding.p_value:.1g}",
                "confirmed" if finding.place in here else "not confirmed",
            ]
            for finding in report.nights[-1].found
        ],
    )
    parts += table(
        "Sensors at fault",
        ["device", "fault", ""],
        [[fault.device, fault.fault, fault.detail] for fault in report.sensor_faults],
    )
    reasons = [[reason, str(count)] for reason, count in report.reasons.items()]
    parts += [
        f"<h2>Contract</h2><p>{report.rows} good readings, {report.quarantined} in quarantine.</p>",
        *(f"<p>{escaped(sentence)}</p>" for sentence in report.contract),
    ]
    parts += table("", ["reason", "readings"], reasons)
    parts += _quality(report.quality)
    parts += table(
        "The nights before",
        ["night", "found"],
        [[night.date, str(len(night.found))] for night in report.nights],
    )
    parts.append(f"<h2>Distributions</h2><p>{escaped(note)}</p></div>")
    return "".join(parts)


def _knows(report: NightReport) -> str:
    known = report.known
    first = f"from {known.first} " if known.first else ""
    text = (
        f"Version {report.model_version} has learned from the readings {first}until "
        f"{_minute(known.until)} UTC."
    )
    if known.judged_until == known.until:
        return text
    return (
        f"{text} It was judged by a fit with the same parameters that had learned from those until "
        f"{_minute(known.judged_until)}."
    )


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _scores(days: int) -> str:
    if not days:
        return "Scores are not judged: too few readings were held out from training."
    return f"Scores are compared with the {days} days that it was not trained on."


def _promise(measured: FalseAlarms | None) -> str:
    if not measured:
        return "The rate of false alarms is unknown: the training data are too short."
    text = (
        f"The sensor contract allows {measured.allowed_per_month:g} false alarms a month. "
        f"Measured on {measured.replayed} days or devices of the training data, each against "
        f"the others: {measured.suspected} were suspected, and {measured.woken} would have "
        "raised an alarm"
    )
    if measured.woken_per_month is None:
        return text + "."
    return text + f": {measured.woken_per_month:.2g} a month."


def _quality(figures: Mapping[str, float | int | None] | None) -> list[str]:
    if not figures:
        return ["<h2>Quality</h2><p>No reading of the day has a label.</p>"]
    if "alarm_episodes" in figures:
        return [
            f"<h2>Alarms</h2><p>{figures['rows']} readings: {figures['alarm_episodes']} alarm "
            f"episodes in {figures['device_days']:.3g} days of a device. No labels: precision, "
            "recall and F1 cannot be judged.</p>"
        ]
    return [
        f"<h2>Quality</h2><p>{figures['rows']} labelled readings: {figures['events_hit']} of "
        f"{figures['events']} events hit, {figures['false_episodes']} false alarm episodes in "
        f"{figures['device_days']:.3g} days of a device.</p>"
    ]
