"""How good alarms are without a single label: SKAB by the protocol of its own benchmark.

Of each file the first 400 readings are presumed normal: a model of its own is fitted on them, and
scores the rest. One threshold serves all files: it follows from a promised rate of false episodes,
on stretches of these first readings that the model of the stretch did not see. No label is looked
at before all is scored.
"""

import statistics
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench import quality_data
from bench.frame import Target
from breezeway.contract.contract import Contract
from breezeway.detector.boosting import SEED
from breezeway.detector.families.registry import family_of
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.presumed import held_out_scores
from breezeway.detector.promised_rate import promised_threshold
from breezeway.detector.range_metrics import vus_pr
from breezeway.detector.scorecard import baselines, horizon_seconds, scorecard
from breezeway.detector.table import Table

LEARNED = 400
"""Readings of a file that are presumed normal."""
SKIPPED = 20
"""Of these: until the windows are full."""
PROMISED = (0.5, 2.0, 5.0)
"""False episodes an hour."""
AIM = ("average distance", 0.5)
"""What the goals are of."""
FAMILIES = (
    "mahalanobis distance",
    "principal components",
    "nearest neighbours",
    "average distance",
)
FIGURES = (
    "f1", "false_alarm_rate", "events_hit", "events_hit_promptly", "median_delay_seconds",
    "false_episodes_per_normal_hour", "average_precision",
)  # fmt: skip


def measure(data: Path) -> dict[str, Any]:
    """Judge each family, at each promised rate.

    Args:
        data: the files of SKAB.
    """
    with quality_data.loaded("skab", data, threads=2) as readings:
        raw = pa.concat_tables(readings.stream())
        raw = raw.filter(pc.invert(pc.starts_with(raw["device"], "anomaly-free/")))
        contract = of_twenty_readings(readings.contract)
        table = readings._replace(contract=contract).problem(raw).table
    scored = {family: _score(table, contract, family) for family in FAMILIES}
    cards = {}
    for family, each in scored.items():
        for promised in PROMISED:
            card = _card(table, contract, each, promised)
            cards[f"{family}, {promised:g} an hour promised"] = card
    judged = scored[AIM[0]].judged
    frame = table.frame(np.where(judged, scored[AIM[0]].score, 0.0), judged)
    blind = baselines(frame, 0.5, contract.interval_seconds)
    del blind["random"]  # at as many readings as a detector: there are twelve here
    return {
        "measured_at": datetime.now(UTC).isoformat(),
        "rows": int(judged.sum()),
        "cards": cards | {name: _figures(card) for name, card in blind.items()},
        "vus_pr": {family: _vus_pr(table, contract, each) for family, each in scored.items()},
        "fit_milliseconds": {family: each.milliseconds for family, each in scored.items()},
    }


def of_twenty_readings(contract: Contract) -> Contract:
    """SKAB's contract, with the mean and the standard deviation of 20 readings of each field."""
    reading = "\n".join(f'{name} = "{name}"' for name in contract.fields)
    rolling = "\n".join(f'{name} = ["mean", "std"]' for name in contract.fields)
    features = (
        f"[features]\nwindow = {SKIPPED}\n[features.reading]\n{reading}\n"
        f"[features.rolling]\n{rolling}\n\n"
    )
    text = contract.text
    start, end = text.index("[features]"), text.index("[label]")
    return Contract.from_text(text[:start] + features + text[end:], "skab.toml")


class _Scored(NamedTuple):
    score: np.ndarray
    """float64 (rows,): of the rows to judge; NaN for others."""
    held_out: np.ndarray
    """float64 (rows,): of the rows that are presumed normal; NaN for others."""
    milliseconds: float
    """CPU time of a fit, its graph included: the median of the files."""

    @property
    def judged(self) -> np.ndarray:
        return ~np.isnan(self.score)


def _score(table: Table, contract: Contract, name: str) -> _Scored:
    family, rows = family_of(name), table.rows
    score, held_out = np.full((2, len(rows.label)), np.nan)
    costs = []
    starts = np.flatnonzero(rows.first)
    for start, end in zip(starts, np.append(starts[1:], len(rows.first)), strict=True):
        normal = np.zeros(len(rows.label), dtype=bool)
        normal[start + SKIPPED : start + LEARNED] = True
        own = table.features[normal]
        began = time.process_time()
        model = family.fit(own, None, contract, {}, rounds=1, threads=1, seed=SEED)
        graph = model.to_onnx()
        costs.append(time.process_time() - began)
        rest = slice(start + LEARNED, end)
        score[rest] = OnnxScorer(graph).score(table.features[rest])
        held_out[normal] = held_out_scores(own, rows.where(normal), contract, name, 1).score
    return _Scored(score, held_out, 1000 * statistics.median(costs))


def _card(table: Table, contract: Contract, scored: _Scored, promised: float) -> dict[str, Any]:
    alarm = contract.alarm.model_copy(
        update={"false_episodes_per_day": 24 * promised, "max_alarm_share": 0.5, "maximize": None}
    )
    normal, judged = ~np.isnan(scored.held_out), scored.judged
    promise = promised_threshold(
        table.rows.where(normal),
        scored.held_out[normal],
        contract.model_copy(update={"alarm": alarm}),
    )
    frame = table.frame(scored.score, judged)
    return _figures(scorecard(frame, promise.choice.threshold, contract.interval_seconds))


def _figures(card: Any) -> dict[str, Any]:
    figures = asdict(card)
    return {name: figures[name] for name in FIGURES}


def _vus_pr(table: Table, contract: Contract, scored: _Scored) -> float:
    interval = contract.interval_seconds
    longest = round(horizon_seconds(interval) / interval)
    return vus_pr(table.rows.where(scored.judged), scored.score[scored.judged], longest) or 0.0


def targets(found: dict[str, Any]) -> list[Target]:
    """What is to be reached by the average of the distances."""
    family, promised = AIM
    card = found["cards"][f"{family}, {promised:g} an hour promised"]
    wanted = [
        ("F1", 0.80, card["f1"], True),
        ("false alarm rate", 0.10, card["false_alarm_rate"], False),
        ("events hit, of 34", 31, card["events_hit"], True),
        ("hit within 60 s", 28, card["events_hit_promptly"], True),
        ("false episodes an hour", 0.5, card["false_episodes_per_normal_hour"], False),
        ("VUS-PR", 0.88, found["vus_pr"][family], True),
        ("CPU milliseconds to fit an asset", 100, found["fit_milliseconds"][family], False),
    ]
    return [Target(f"skab without labels: {what}", *rest) for what, *rest in wanted]
