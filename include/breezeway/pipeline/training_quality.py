"""What the evaluation of a training says beyond the scorecard: calibration, delays, groups.

It is for a person: `quality.json` and three plots among the reports, and some metrics of the run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.files import write_json
from breezeway.detector import plots, scorecard
from breezeway.detector.alarm_reasons import AlarmReasons, alarm_reasons
from breezeway.detector.calibration import Calibration, calibration
from breezeway.detector.delays import DelayCurve, delay_curve
from breezeway.detector.explanation import Explainer
from breezeway.detector.fitting import Fitted, Judgement
from breezeway.detector.groups import MOST_DEVICES, Group, category_groups, device_groups
from breezeway.detector.range_metrics import Affiliation, affiliation, vus_pr
from breezeway.detector.table import Table
from breezeway.detector.usual import Usual

REPORTS = {
    "reports/reliability.png": "Reliability",
    "reports/delays.png": "Delays and false alarms",
    "reports/groups.png": "By device and category",
    "reports/alarm_reasons.png": "Which sensors make the alarms",
    "reports/quality.json": "Calibration, delays and groups (JSON)",
}


@dataclass(frozen=True)
class Quality:
    """Of the judged rows.

    Args:
        reasons: for the alarms, by the fit that is evaluated.
        delays: None without an event; so are `vus_pr` and `affiliation`.
        chosen_per_day, budget_per_day: false alarms a day of a device, at the chosen thresholds
            and as the contract allows; None if it names costs.
    """

    calibration: Calibration
    delays: DelayCurve | None
    groups: list[Group]
    reasons: AlarmReasons
    vus_pr: float | None
    affiliation: Affiliation | None
    chosen_per_day: float
    budget_per_day: float | None

    def metrics(self) -> dict[str, float | None]:
        """By the names that are logged."""
        near = self.affiliation
        return {
            "brier": self.calibration.brier,
            "expected_calibration_error": self.calibration.expected_error,
            "vus_pr": self.vus_pr,
            "affiliation_precision": near.precision if near else None,
            "affiliation_recall": near.recall if near else None,
        }


def quality_of(
    table: Table, contract: Contract, fitted: Fitted, judgement: Judgement, usual: Usual
) -> Quality:
    """Look at the judged rows: each by a model, and a threshold, that did not see it."""
    judged, interval = judgement.judged, contract.interval_seconds
    rows, score = table.rows.where(judged), fitted.scores.score[judged]
    alarm = score >= judgement.thresholds[judged]
    block = scorecard.block_seconds(contract)
    scored = fitted.scores.fold >= 0
    days = len(score) * interval / 86_400
    explainer = Explainer(fitted.model, contract, usual)
    return Quality(
        calibration=calibration(rows.label, score),
        delays=delay_curve(
            table.rows.where(scored), fitted.scores.score[scored], fitted.curve, interval
        ),
        groups=[
            *device_groups(rows, alarm, block),
            *category_groups(table, judged, contract, alarm, block),
        ],
        reasons=alarm_reasons(explainer, table.features[judged][alarm], rows.label[alarm]),
        vus_pr=vus_pr(rows, score, round(scorecard.horizon_seconds(interval) / interval)),
        affiliation=affiliation(rows, alarm),
        chosen_per_day=judgement.cards["model"].false_episodes / days,
        budget_per_day=contract.alarm.false_episodes_per_day,
    )


def write_quality(quality: Quality, folder: Path) -> None:
    """Write the reports of `REPORTS`."""
    write_json(folder / "quality.json", _document(quality))
    plots.draw_reliability(quality.calibration, folder / "reliability.png")
    if quality.delays:
        plots.draw_delays(
            quality.delays, quality.chosen_per_day, quality.budget_per_day, folder / "delays.png"
        )
    else:
        plots.draw_note("The scored readings hold no event.", folder / "delays.png")
    plots.draw_reasons(quality.reasons, folder / "alarm_reasons.png")
    if quality.groups:
        plots.draw_groups(quality.groups, folder / "groups.png")
    else:
        note = f"There are more than {MOST_DEVICES} devices, and no feature is a category."
        plots.draw_note(note, folder / "groups.png")


def _document(quality: Quality) -> dict[str, Any]:
    found = quality.calibration
    bins = [
        {"score": float(score), "positive": float(share), "rows": int(rows)}
        for score, share, rows in zip(found.score, found.share, found.rows, strict=True)
        if rows
    ]
    curve = quality.delays
    delays = (
        [
            {
                name: None if np.isnan(value) else float(value)
                for name, value in zip(curve._fields, line, strict=True)
            }
            for line in zip(*curve, strict=True)
        ]
        if curve
        else []
    )
    groups = [
        {
            **group._asdict(),
            "hit": group.hit and group.hit._asdict(),
            "false": group.false and group.false._asdict(),
        }
        for group in quality.groups
    ]
    reasons = [field._asdict() for field in quality.reasons.fields]
    return {
        **quality.metrics(),
        "reliability": bins,
        "delays": delays,
        "groups": groups,
        "alarm_reasons": reasons,
    }
