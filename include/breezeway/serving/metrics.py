"""What the model server counts, and how Prometheus reads it.

The counts are plain numbers in the process: BentoML's own metrics go through files shared by
workers, which costs more than a prediction, and there is one worker here. They are made into
`prometheus_client`'s families when `/metrics` is asked for.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from breezeway.deployment import status

LATENCY_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Seconds from a complete body to its answer: parsing, checks, features, the score."""
SCORE_BOUNDS = tuple(number / 20 for number in range(1, 20))

KEPT_TALLIES = 20
"""Tallies of a model; Prometheus has long read those of earlier versions."""


class Histogram:
    """Counts of values by bucket: up to the first bound, …, above the last."""

    def __init__(self, bounds: Sequence[float]):
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def counted(self) -> status.Histogram:
        return status.Histogram(tuple(self.bounds), tuple(self.counts), self.sum)

    def buckets(self) -> list[tuple[str, int]]:
        """Cumulative counts in Prometheus' form; the last bucket has no bound."""
        cumulative = np.cumsum(self.counts).tolist()
        return list(zip([*map(str, self.bounds), "+Inf"], cumulative, strict=True))


class Tally:
    """What became of the requests of one version of a model in one role.

    Args:
        feature_names: of the model; None where no features are to be summed up.
    """

    def __init__(self, feature_names: Sequence[str] | None = None):
        self.outcomes = dict.fromkeys(("normal", "alarm", "rejected", "error"), 0)
        self.latency = Histogram(LATENCY_BOUNDS)
        self.score = Histogram(SCORE_BOUNDS)
        self.feedback = {(alarm, label): 0 for alarm in (True, False) for label in (True, False)}
        self.other_score = Histogram(SCORE_BOUNDS)
        """Of the other model, on the readings on which both were compared."""
        self.compared = 0
        self.disagreements = 0
        self.difference = 0.0
        self.reasons: Counter[str] = Counter()
        """Of explained alarms, by the field that is their first reason."""
        self.feature_names = feature_names
        width = len(feature_names or ())
        self._sums, self._squares = np.zeros(width), np.zeros(width)
        self._rows, self._missing = 0, np.zeros(width, dtype=np.int64)

    def predicted(self, row: np.ndarray, score: float, alarm: bool, seconds: float) -> None:
        self.outcomes["alarm" if alarm else "normal"] += 1
        self.latency.observe(seconds)
        self.score.observe(score)
        if self.feature_names is not None:
            missing = row != row
            if missing.any():
                self._missing += missing
                row = np.where(missing, 0.0, row)
            self._rows += 1
            self._sums += row
            self._squares += row * row

    def compare(self, mine: float, other: float, same_alarm: bool) -> None:
        """Both models' scores of the same readings."""
        self.compared += 1
        self.other_score.observe(other)
        self.difference += abs(mine - other)
        self.disagreements += not same_alarm

    def counted(self) -> status.Counts:
        return status.Counts(
            predictions=self.outcomes["normal"] + self.outcomes["alarm"],
            alarms=self.outcomes["alarm"],
            rejected=self.outcomes["rejected"],
            errors=self.outcomes["error"],
            latency=self.latency.counted(),
            score=self.score.counted(),
            feedback=status.FeedbackCounts(
                true_alarms=self.feedback[True, True],
                false_alarms=self.feedback[True, False],
                missed=self.feedback[False, True],
                true_normals=self.feedback[False, False],
            ),
            shadow=status.Comparison(
                compared=self.compared,
                disagreements=self.disagreements,
                difference_sum=self.difference,
                champion_score=self.other_score.counted(),
            ),
        )

    def features(self) -> Iterator[tuple[str, int, float, float, int]]:
        """For each feature: name, count, sum, sum of squares, missing values."""
        values = self._rows - self._missing
        columns = (values, self._sums, self._squares, self._missing)
        yield from zip(self.feature_names or (), *(c.tolist() for c in columns), strict=True)


class Metrics:
    """All counts of a process."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """By model (empty if unknown), endpoint and HTTP status."""
        self.tallies: dict[tuple[str, str, str], Tally] = {}
        """By model, version and role."""
        self.violations: Counter[tuple[str, str, str, str]] = Counter()
        """By model, field, rule and what was done: the request `rejected`, the reading `left_out`,
        or the value `missing`."""
        self.ignored_feedback: Counter[tuple[str, str]] = Counter()
        """By model and reason: unsigned, not_live or known."""
        self.in_progress = 0
        self.loop_lag = 0.0

    def tally(self, model: str, version: str, role: str, feature_names: Sequence[str]) -> Tally:
        """The tally of a version in a role; if it had that role before, the same one continues."""
        tally = self.tallies.get((model, version, role))
        if tally is None or tally.feature_names != feature_names:
            tally = self.tallies[model, version, role] = Tally(feature_names)
        return tally

    def forget_versions(self, model: str, live: set[str]) -> None:
        """Drop a model's oldest tallies, but none of a live version."""
        of_model = [key for key in self.tallies if key[0] == model]
        for key in of_model[:-KEPT_TALLIES]:
            if key[1] not in live:
                del self.tallies[key]


def exposition(families: Sequence[Metric]) -> str:
    """Families, and the process's own resource use, as Prometheus text."""
    registry = CollectorRegistry()
    registry.register(type("Now", (), {"collect": lambda self: iter(families)})())
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode()


def counts(metrics: Metrics) -> list[Metric]:
    """The counts of a process as Prometheus' families."""
    tallies = metrics.tallies.copy()  # a swap in another thread may add one
    return [
        _counter(
            "breezeway_http_requests",
            "Requests by model, endpoint and HTTP status",
            ["model", "endpoint", "code"],
            metrics.requests,
        ),
        _counter(
            "breezeway_contract_violations",
            "Values that broke the sensor contract",
            ["model", "field", "rule", "action"],
            metrics.violations,
        ),
        _counter(
            "breezeway_feedback_ignored",
            "Feedback that was not counted: unsigned, of a version not live, or known already",
            ["model", "reason"],
            metrics.ignored_feedback,
        ),
        _gauge(
            "breezeway_requests_in_progress", "Requests not answered yet", {(): metrics.in_progress}
        ),
        _gauge(
            "breezeway_event_loop_lag_seconds",
            "How late the event loop last came back to what was due",
            {(): metrics.loop_lag},
        ),
        *_predictions(tallies),
        _reasons(tallies),
        *_of_roles(tallies),
        *_features(tallies),
    ]


def _predictions(tallies: dict[tuple[str, str, str], Tally]) -> list[Metric]:
    outcomes = {
        (*key, outcome): count
        for key, tally in tallies.items()
        for outcome, count in tally.outcomes.items()
    }
    labels = ["model", "model_version", "role"]
    seconds = HistogramMetricFamily(
        "breezeway_prediction_duration_seconds",
        "From the whole body to the answer",
        labels=labels,
    )
    score = HistogramMetricFamily("breezeway_prediction_score", "Scores", labels=labels)
    for key, tally in tallies.items():
        seconds.add_metric(list(key), tally.latency.buckets(), tally.latency.sum)
        score.add_metric(list(key), tally.score.buckets(), tally.score.sum)
    help_text = "Predictions by what came of them"
    return [
        _counter("breezeway_predictions", help_text, [*labels, "outcome"], outcomes),
        seconds,
        score,
    ]


def _reasons(tallies: dict[tuple[str, str, str], Tally]) -> Metric:
    reasons = {
        (*key, field): count
        for key, tally in tallies.items()
        for field, count in tally.reasons.items()
    }
    labels = ["model", "model_version", "role", "field"]
    return _counter(
        "breezeway_alarm_reasons", "Explained alarms by their first reason", labels, reasons
    )


def _of_roles(tallies: dict[tuple[str, str, str], Tally]) -> list[Metric]:
    feedback: Counter[tuple[str, ...]] = Counter()
    shadows = {}
    for (model, version, role), tally in tallies.items():
        for (alarm, label), count in tally.feedback.items():
            feedback[model, version, str(alarm).lower(), str(label).lower()] += count
        if role == "shadow":
            shadows[model, version] = tally
    labels = ["model", "model_version"]
    difference = SummaryMetricFamily(
        "breezeway_shadow_score_difference",
        "Absolute difference of the shadow's score from the one answered",
        labels=labels,
    )
    for key, tally in shadows.items():
        difference.add_metric(list(key), tally.compared, tally.difference)
    return [
        _counter(
            "breezeway_feedback",
            "Predictions whose truth came back",
            [*labels, "alarm", "label"],
            feedback,
        ),
        _counter(
            "breezeway_shadow_disagreements",
            "Requests on which a shadow alarms otherwise than the champion",
            labels,
            {key: tally.disagreements for key, tally in shadows.items()},
        ),
        difference,
    ]


def _features(tallies: dict[tuple[str, str, str], Tally]) -> list[Metric]:
    labels = ["model", "model_version", "role", "feature"]
    value = SummaryMetricFamily("breezeway_feature_value", "Feature values", labels=labels)
    squares, missing = {}, {}
    for key, tally in tallies.items():
        for name, count, total, square, absent in tally.features():
            value.add_metric([*key, name], count, total)
            squares[(*key, name)] = square
            missing[(*key, name)] = absent
    return [
        value,
        _counter("breezeway_feature_squares_sum", "Sum of squared values", labels, squares),
        _counter("breezeway_feature_missing", "Missing values", labels, missing),
    ]


def _counter(name: str, text: str, labels: list[str], counts: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in counts.items():
        family.add_metric(list(map(str, key)), count)
    return family


def _gauge(name: str, text: str, values: dict[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[])
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family
