"""A training without labels: what it promises, and what was measured on rows that it did not see.

It says what cannot be judged, in place of the figures and pictures that labels are needed for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from breezeway.core.files import write_json
from breezeway.detector import plots
from breezeway.detector.alarm_rate import NOT_JUDGED, AlarmRate, alarm_rate
from breezeway.detector.alarm_reasons import AlarmReasons, alarm_reasons
from breezeway.detector.explanation import Explainer
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.presumed import PresumedDetector
from breezeway.detector.score_filter import ages_of, filtered
from breezeway.detector.table import Table
from breezeway.pipeline.trained import Trained, shown

REPORTS = {
    "reports/promise.png": "Promised and measured alarms",
    "reports/score_over_time.png": "Score over time",
    "reports/alarm_reasons.png": "Which sensors make the alarms",
    "reports/feature_importance.png": "Feature importance",
    "reports/promise.json": "Promised and measured alarms (JSON)",
}


COLUMNS = (
    "",
    "device days",
    "alarm\nepisodes",
    "a day of\na device",
    "95 %\ninterval",
    "time\nin alarm",
)


@dataclass(frozen=True, kw_only=True)
class UnlabelledTraining(Trained):
    """A training without labels.

    Args:
        fitted: what is evaluated, with its promise.
        held_out: the rows that the contract keeps back from training.
    """

    fitted: PresumedDetector
    held_out: Table

    @property
    def titles(self) -> Mapping[str, str]:
        return REPORTS

    @cached_property
    def score(self) -> np.ndarray:
        """Float64, of the held-out rows: by the fit that is evaluated; filtered."""
        rows, alarm = self.held_out.rows, self.contract.alarm
        score = OnnxScorer(self.fitted.model.to_onnx()).score(self.held_out.features)
        return filtered(score, ages_of(rows.device, rows.time, self.contract), alarm)

    @cached_property
    def measured(self) -> AlarmRate | None:
        """Of the held-out rows."""
        return alarm_rate(self.held_out.rows, self._alarm, self.contract)

    @property
    def _alarm(self) -> np.ndarray:
        alarm: np.ndarray = self.score >= self.fitted.threshold
        return alarm

    @property
    def sentence(self) -> str:
        """What is promised, and what was measured, for a person."""
        promise, measured = self.fitted.promise, self.measured
        extrapolated = ", extrapolated from more frequent ones" if promise.extrapolated else ""
        said = (
            f"Promised are {promise.per_day:.3g} alarm episodes in a day of a device, from "
            f"{promise.device_days:.1f} device days{extrapolated}."
        )
        if measured:
            said += (
                f" On {measured.device_days:.1f} held-out device days: {measured.episodes}, or "
                f"{measured.per_day.value:.3g} a day, 95 % interval {measured.per_day.low:.3g} to "
                f"{measured.per_day.high:.3g}; {measured.share.value:.2%} of the time was in alarm."
            )
        return said

    def metrics(self) -> dict[str, float | None]:
        promise = self.fitted.promise
        return {
            "promised_episodes_per_day": promise.per_day,
            "promise_extrapolated": float(promise.extrapolated),
            "calibrated_device_days": promise.device_days,
            **(self.measured.figures() if self.measured else {}),
        }

    def told(self) -> dict[str, Any]:
        return {
            "metrics": shown(self.metrics()),
            "baselines": {},
            "beside_clock": "",
            "not_judged": NOT_JUDGED,
        }

    def lines(self) -> list[list[str]]:
        """The lines of a table, in the order of `COLUMNS`."""
        promise, measured = self.fitted.promise, self.measured
        most = self.contract.alarm.max_alarm_share
        promised = ["promised", f"{promise.device_days:.1f}", "-", f"{promise.per_day:.3g}", "-"]
        found = [[*promised, f"at most {most:.2%}"]]
        if measured:
            days, (value, low, high) = measured.device_days, measured.per_day
            told = [
                f"{days:.1f}",
                str(measured.episodes),
                f"{value:.3g}",
                f"{low:.3g} to {high:.3g}",
            ]
            found.append(["measured", *told, f"{measured.share.value:.2%}"])
        return found

    def write_reports(self, folder: Path) -> None:
        folder.mkdir()
        plots.draw_table(
            "What is promised, and what came of it on rows that training did not see",
            COLUMNS,
            self.lines(),
            folder / "promise.png",
            NOT_JUDGED,
        )
        write_json(folder / "promise.json", {**self.metrics(), "not_judged": NOT_JUDGED})
        rows, threshold = self.held_out.rows, self.fitted.threshold
        plots.draw_score_over_time(
            rows,
            self.score,
            np.full(len(self.score), threshold),
            folder / "score_over_time.png",
        )
        plots.draw_reasons(self._reasons(), folder / "alarm_reasons.png")
        plots.draw_importance(self.fitted.model.importance(), folder / "feature_importance.png")

    def _reasons(self) -> AlarmReasons:
        explainer = Explainer(self.fitted.model, self.contract, self.usual)
        alarms = self.held_out.features[self._alarm]
        return alarm_reasons(explainer, alarms, np.full(len(alarms), np.nan))
