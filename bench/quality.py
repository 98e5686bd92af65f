"""How good alarms are: SKAB, AI4I and the simulated plant, by the shipped contracts.

Each is judged through the product's own functions: load, features, cross-fitted scores, and for
each fold the threshold that the contract chooses on the other folds. Beside the model stand
detectors that look at no sensor, published figures, and what is to be reached.

- SKAB: of each labelled file a random start is cut off, for each begins normally, which a clock
  can learn; the next 120 rows are the device's own baseline. Whole files are left out.
- AI4I: products are left out.
- The plant: whole days are left out.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import quality_data, quality_unlabelled
from bench.frame import Target, table, write_result
from bench.quality_data import Problem
from breezeway.detector.calibration import calibration
from breezeway.detector.clock import clock_scores
from breezeway.detector.fitting import Judgement, judge_unseen, settled
from breezeway.detector.folds import split
from breezeway.detector.model import DEFAULT_ROUNDS, OutOfFold, default_params, out_of_fold
from breezeway.detector.range_metrics import affiliation, vus_pr
from breezeway.detector.scorecard import Scorecard, horizon_seconds

SEEDS = {"skab": 4, "ai4i": 5, "plant": 4}
"""How often each is judged: SKAB with other cuts, AI4I with other folds, and other plants."""
THREADS = 2
DAY = 86_400
FIGURES = (
    "f1", "false_alarm_rate", "events", "events_hit", "share_hit", "events_hit_promptly",
    "false_episodes_per_normal_hour", "false_episodes_per_day", "average_precision",
    "median_delay_seconds", "p90_delay_seconds",
)  # fmt: skip


def run(folder: Path) -> None:
    found = measure(SEEDS)
    for name, result in found.items():
        print(f"\n{name}: {result['rows']:,} rows, {result['seeds']} times\n")
        print(table(["", *FIGURES], _lines(result["cards"])))
    result, targets = {"problems": found}, _targets(found)
    if data := quality_data.data_folder("skab"):
        unlabelled = quality_unlabelled.measure(data)
        print(f"\nskab without labels: {unlabelled['rows']:,} rows\n")
        lines = [[name, *card.values()] for name, card in unlabelled["cards"].items()]
        print(table(["", *quality_unlabelled.FIGURES], lines))
        result["unlabelled"] = unlabelled
        targets += quality_unlabelled.targets(unlabelled)
    write_result(folder, "quality", result, targets, ["numpy", "xgboost-cpu"])


def measure(seeds: dict[str, int]) -> dict[str, Any]:
    """What was found on each problem; public data that is not there is left out, and that said."""
    found = {}
    for name, count in seeds.items():
        data = None if name == "plant" else quality_data.data_folder(name)
        if name != "plant" and data is None:
            print(f"{name} is skipped: BREEZEWAY_TEST_DATA names no folder with a folder {name}.")
            continue
        began = time.monotonic()
        runs = _runs(name, data, count)
        found[name] = {
            "seeds": count,
            "rows": runs[0]["rows"],
            "cards": {
                detector: _spread([each["cards"][detector] for each in runs])
                for detector in runs[0]["cards"]
            },
            "of_scores": _spread([each["of_scores"] for each in runs]),
            "beside_clock": [each["beside_clock"] for each in runs],
            "thresholds": [each["thresholds"] for each in runs],
            "seconds": time.monotonic() - began,
        }
    return found


def _runs(name: str, data: Path | None, count: int) -> list[dict[str, Any]]:
    return [judge(problem, seed) for seed, problem in enumerate(_problems(name, data, count))]


def _problems(name: str, data: Path | None, count: int) -> Iterator[Problem]:
    if name == "plant":
        for seed in range(count):
            with quality_data.loaded(name, data, THREADS, plant=seed) as readings:
                yield readings.problem(by="day", folds=4)
        return
    with quality_data.loaded(name, data, THREADS) as readings:
        if name == "skab":
            yield from (readings.problem(readings.cut(seed)) for seed in range(count))
        else:
            yield from [readings.problem()] * count


def judge(problem: Problem, seed: int) -> dict[str, Any]:
    """Judge all rows once, each by a model and a threshold that did not see it."""
    grouped = problem.grouped(seed)
    raw = out_of_fold(
        problem.table._replace(rows=grouped),
        problem.contract,
        default_params(len(grouped.label)),
        DEFAULT_ROUNDS,
        THREADS,
    )
    scores, _ = settled(problem.table.rows, raw, problem.contract)
    clock = clock_scores(problem.table, split(grouped, problem.contract), THREADS)
    judgement = judge_unseen(problem.table, problem.contract, scores, clock)
    interval = problem.contract.interval_seconds
    return {
        "rows": len(scores.score),
        "cards": {name: _figures(card, interval) for name, card in judgement.cards.items()},
        "of_scores": _of_scores(problem, scores, clock, judgement),
        "beside_clock": judgement.clock.difference._asdict() if judgement.clock else None,
        "thresholds": _of_folds(judgement, scores),
    }


def _of_scores(
    problem: Problem, scores: OutOfFold, clock: OutOfFold, judgement: Judgement
) -> dict[str, float]:
    """Figures that say nothing of a detector that is only on or off."""
    rows, interval = problem.table.rows, problem.contract.interval_seconds
    longest = round(horizon_seconds(interval) / interval)
    near = affiliation(rows, scores.score >= judgement.thresholds)
    probability = calibration(rows.label, scores.score)
    return {
        "VUS-PR": vus_pr(rows, scores.score, longest),
        "VUS-PR of the learned clock": vus_pr(rows, clock.score, longest),
        "affiliation precision": near.precision,
        "affiliation recall": near.recall,
        "Brier score": probability.brier,
        "expected calibration error": probability.expected_error,
    }


def _figures(card: Scorecard, interval: float) -> dict[str, float | None]:
    days = card.rows * interval / DAY
    figures = asdict(card) | {
        "false_episodes_per_day": card.false_episodes / days,
        "share_hit": card.events_hit / card.events,
    }
    return {name: figures[name] for name in FIGURES}


def _of_folds(judgement: Judgement, scores: OutOfFold) -> list[float]:
    return [
        float(judgement.thresholds[scores.fold == fold][0]) for fold in range(scores.fold.max() + 1)
    ]


def _spread(cards: Sequence[dict[str, float | None]]) -> dict[str, Any]:
    """The mean of each figure, the lowest and the highest; None where a run has none."""
    spread = {}
    for figure in cards[0]:
        values = [card[figure] for card in cards]
        if None in values:
            spread[figure] = None
        else:
            spread[figure] = [statistics.fmean(values), min(values), max(values)]
    return spread


def _lines(cards: dict[str, Any]) -> list[list[str]]:
    return [
        [name, *("-" if card[f] is None else f"{card[f][0]:.3f}" for f in FIGURES)]
        for name, card in cards.items()
    ]


WANTED = {
    "skab": [
        ("F1", "f1", 0.87, True),
        ("false alarm rate", "false_alarm_rate", 0.05, False),
        ("events hit, of 34", "events_hit", 33, True),
        ("hit within 60 s", "events_hit_promptly", 31, True),
        ("false episodes an hour", "false_episodes_per_normal_hour", 0.5, False),
    ],
    "ai4i": [("F1", "f1", 0.90, True)],
    "plant": [
        ("F1", "f1", 0.85, True),
        ("share of events hit", "share_hit", 0.975, True),
        ("median delay in seconds", "median_delay_seconds", 22 * 60, False),
        ("false episodes a day of a device", "false_episodes_per_day", 0.2, False),
    ],
}
"""What is to be reached, on the mean."""


def _targets(found: dict[str, Any]) -> list[Target]:
    targets = []
    for name, result in found.items():
        for what, figure, wanted, at_least in WANTED[name]:
            reached = result["cards"]["model"][figure]
            value = reached[0] if reached else (0.0 if at_least else float("inf"))
            targets.append(Target(f"{name}: {what}", wanted, value, at_least))
    return targets
