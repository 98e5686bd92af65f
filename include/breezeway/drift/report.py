"""Reports on drift for a person: what the nightly check found, and Evidently's pictures.

Evidently's tests take neighbouring readings for independent, so they find drift on every quiet
day: they show how a distribution has changed, they decide nothing.
"""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from breezeway.core.errors import DataError
from breezeway.core.files import write_json
from breezeway.drift.decision import Finding
from breezeway.drift.faults import SensorFault

SAMPLE_ROWS = 2_000
"""Rows of either side that go into a report: enough for its tests and pictures, and its cost
grows with them."""


def sample(batches: Iterable[pa.RecordBatch], count: int, rows: int = SAMPLE_ROWS) -> pa.Table:
    """Rows at even distances: the same ones each time, and memory holds no others.

    Args:
        batches: none gives an empty table without columns.
        count: of their rows, or about so.
        rows: how many of them, or about so.
    """
    step = max(1, count // rows)
    pieces: list[pa.RecordBatch] = []
    seen = 0
    for batch in batches:
        wanted = np.arange(-seen % step, len(batch), step)
        pieces.append(batch.take(pa.array(wanted)))
        seen += len(batch)
    return pa.Table.from_batches(pieces) if pieces else pa.table({})


def report_drift(reference: pa.Table, current: pa.Table, columns: list[str], folder: Path) -> None:
    """Write Evidently's `drift.html` and `drift.json` on how `columns` differ.

    Columns without a value on either side are left out.

    Args:
        reference: rows of the training data.
        current: recent rows.
        columns: float64 columns of both.
        folder: where the files go.

    Raises:
        DataError: no column has values on both sides.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    columns = [
        name
        for name in columns
        if all(np.isfinite(side[name].to_numpy()).any() for side in (reference, current))
    ]
    if not columns:
        raise DataError("Not one feature has a value on both sides: there is nothing to compare.")
    definition = DataDefinition(numerical_columns=columns)
    new, old = (
        Dataset.from_pandas(side.select(columns).to_pandas(), data_definition=definition)
        for side in (current, reference)
    )
    _write(Report([DataDriftPreset(columns=columns)]).run(new, old), folder / "drift")


def report_classification(
    label: np.ndarray, score: np.ndarray, threshold: float, folder: Path
) -> None:
    """Write `classification.html` and `classification.json` on a model's alarms.

    Args:
        label: int8 (rows,), both classes.
        score: float64 (rows,), probabilities.
        threshold: a row is in alarm from this score on.
        folder: where the files go.
    """
    import pandas as pd
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.presets import ClassificationPreset

    frame = pd.DataFrame({"label": label.astype(int), "score": score})
    definition = DataDefinition(
        numerical_columns=["score"],
        classification=[BinaryClassification(target="label", prediction_probas="score")],
    )
    data = Dataset.from_pandas(frame, data_definition=definition)
    snapshot = Report([ClassificationPreset(probas_threshold=threshold)]).run(data, None)
    _write(snapshot, folder / "classification")


def _write(snapshot: Any, path: Path) -> None:
    snapshot.save_html(str(path.with_suffix(".html")))
    snapshot.save_json(str(path.with_suffix(".json")))


def write_night(
    report: dict[str, Any],
    confirmed: Sequence[Finding],
    found: Sequence[Finding],
    faults: Sequence[SensorFault],
    sides: tuple[pa.Table, pa.Table] | None,
    columns: list[str],
    folder: Path,
) -> None:
    """Write the nightly report: `findings.json`, and `drift.html` with Evidently's pictures below.

    Args:
        report: of the step `drift`.
        confirmed, found: of the night.
        faults: of the night.
        sides: rows of the reference and of the night for the pictures; None for no pictures.
        columns: float64 columns of both.
        folder: where the files go; `drift.json` is Evidently's.
    """
    write_json(folder / "findings.json", report)
    note, page = "There are no readings to draw.", "<html><body></body></html>"
    if sides:
        note = (
            f"The pictures below are Evidently's, of {len(sides[1])} of the day's {report['rows']} "
            f"rows and {len(sides[0])} rows of the training data, both at even distances. Their "
            "tests take each row for independent of the one before, so they call quiet days "
            "drift: they decide nothing here."
        )
        try:
            report_drift(*sides, columns, folder)
            page = (folder / "drift.html").read_text(encoding="utf-8")
        except DataError as error:
            note = str(error)
    head, body, rest = page.partition("<body>")
    night = _night(report, confirmed, found, faults, note)
    (folder / "drift.html").write_text(head + body + night + rest, encoding="utf-8")


COLOURS = {"quiet": "#2e7d32", "suspected": "#b26a00", "drifted": "#c62828"}

STYLE = """
.night {font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem;
  color: #222; background: #fff}
.night h1 {font-size: 1.5rem; margin: 0 0 .5rem}
.night h2 {font-size: 1.1rem; margin: 1.5rem 0 .3rem}
.night .verdict {display: inline-block; padding: .1rem .7rem; border-radius: 1rem; color: #fff}
.night table {border-collapse: collapse; width: 100%} .night p {margin: .4rem 0}
.night th, .night td {text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ddd}
.night td.number, .night th.number {text-align: right; font-variant-numeric: tabular-nums}
"""


def _night(
    report: dict[str, Any],
    confirmed: Sequence[Finding],
    found: Sequence[Finding],
    faults: Sequence[SensorFault],
    note: str,
) -> str:
    colour = COLOURS.get(report["verdict"], "#616161")
    reference = report["reference"]
    parts = [
        f"<style>{STYLE}</style><div class='night'>",
        f"<h1>{_e(report['model_name'])}, {report['date']} "
        f"<span class='verdict' style='background:{colour}'>{report['verdict']}</span></h1>",
        f"<p>{_e(report['reason'])}</p>",
        f"<p>Compared with what version {_e(report['model_version'])} was trained on: dataset "
        f"{_e(reference['data_tag'])}, {reference['days']} days, matched by "
        f"{reference['compared_by']}. {_e(_scores(reference['days_of_scores']))}</p>",
        f"<p>{_e(_promise(report['false_alarms']))}</p>",
    ]
    here = {finding.place for finding in confirmed}
    parts += _table(
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
            for finding in found
        ],
    )
    parts += _table(
        "Sensors at fault",
        ["device", "fault", ""],
        [[fault.device, fault.fault, fault.detail] for fault in faults],
    )
    reasons = [[reason, str(count)] for reason, count in report["reasons"].items()]
    parts += [
        f"<h2>Contract</h2><p>{report['rows']} good readings, {report['quarantined']} in "
        "quarantine.</p>",
        *(f"<p>{_e(sentence)}</p>" for sentence in report["contract"]),
    ]
    parts += _table("", ["reason", "readings"], reasons)
    parts += _quality(report["quality"])
    parts += _table(
        "The nights before",
        ["night", "found"],
        [[night["date"], str(len(night["found"]))] for night in report["nights"]],
    )
    parts.append(f"<h2>Distributions</h2><p>{_e(note)}</p></div>")
    return "".join(parts)


def _scores(days: int) -> str:
    if not days:
        return "Scores are not judged: too few readings were kept from training."
    return f"Scores are compared with the {days} days that it was not trained on."


def _promise(measured: dict[str, Any] | None) -> str:
    if not measured:
        return "Nothing can be said of false alarms: the training data are too short."
    text = (
        f"The sensor contract allows {measured['allowed_per_month']:g} false alarms a month. "
        f"Measured on {measured['replayed']} days or devices of the training data, each against "
        f"the others: {measured['suspected']} were suspected, and {measured['woken']} would have "
        "woken somebody"
    )
    if measured["woken_per_month"] is None:
        return text + "."
    return text + f": {measured['woken_per_month']:.2g} a month."


def _quality(figures: dict[str, Any] | None) -> list[str]:
    if not figures:
        return ["<h2>Quality</h2><p>No reading of the day has a label.</p>"]
    return [
        f"<h2>Quality</h2><p>{figures['rows']} labelled readings: {figures['events_hit']} of "
        f"{figures['events']} events hit, {figures['false_episodes']} false alarm episodes in "
        f"{figures['device_days']:.3g} days of a device.</p>"
    ]


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return [f"<h2>{title}</h2><p>None.</p>"] if title else []
    cells = ["".join(f"<td>{_e(text)}</td>" for text in row) for row in rows]
    return [
        f"<h2>{title}</h2>" if title else "",
        "<table><tr>" + "".join(f"<th>{name}</th>" for name in header) + "</tr>",
        *(f"<tr>{row}</tr>" for row in cells),
        "</table>",
    ]


def _e(text: Any) -> str:
    return html.escape(str(text))
