"""What the server counts is what Prometheus reads."""

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from breezeway.serving import metrics
from breezeway.serving.metrics import LATENCY_BOUNDS, Histogram, Metrics, Tally

LIVE = {"model": "pump", "model_version": "1", "role": "champion"}


def samples(counted: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.exposition(metrics.counts(counted))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(counted: Metrics, name: str, **labels: str) -> float:
    return samples(counted)[name, frozenset(labels.items())]


@pytest.fixture
def counted() -> Metrics:
    """Three predictions of a champion, of which one is an alarm and one lacks a feature."""
    counted = Metrics()
    tally = counted.tally("pump", "1", "champion", ["warmth", "strain"])
    tally.predicted(np.array([2.0, 10.0]), 0.2, False, 0.0002)
    tally.predicted(np.array([4.0, np.nan]), 0.3, False, 0.004)
    tally.predicted(np.array([6.0, 20.0]), 0.97, True, 9.0)
    return counted


def test_a_value_falls_into_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for observed in (0.5, 1.0, 1.5, 2.5):
        histogram.observe(observed)
    assert histogram.counts == [2, 1, 1]
    assert histogram.buckets() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert histogram.sum == 5.5


def test_predictions_are_counted_by_what_came_of_them(counted: Metrics) -> None:
    counted.tallies["pump", "1", "champion"].outcomes["rejected"] += 2
    outcomes = {
        outcome: value(counted, "breezeway_predictions_total", **LIVE, outcome=outcome)
        for outcome in ("normal", "alarm", "rejected", "error")
    }
    assert outcomes == {"normal": 2, "alarm": 1, "rejected": 2, "error": 0}


def test_times_and_scores_are_histograms(counted: Metrics) -> None:
    seconds = "breezeway_prediction_duration_seconds"
    assert value(counted, f"{seconds}_count", **LIVE) == 3
    assert value(counted, f"{seconds}_sum", **LIVE) == pytest.approx(9.0042)
    assert value(counted, f"{seconds}_bucket", **LIVE, le="0.005") == 2
    assert value(counted, f"{seconds}_bucket", **LIVE, le=str(LATENCY_BOUNDS[-1])) == 2
    assert value(counted, f"{seconds}_bucket", **LIVE, le="+Inf") == 3
    assert value(counted, "breezeway_prediction_score_bucket", **LIVE, le="0.95") == 2


def test_features_are_summed_up_without_what_is_missing(counted: Metrics) -> None:
    warmth, strain = ({**LIVE, "feature": name} for name in ("warmth", "strain"))
    assert value(counted, "breezeway_feature_value_count", **warmth) == 3
    assert value(counted, "breezeway_feature_value_sum", **warmth) == 12
    assert value(counted, "breezeway_feature_squares_sum_total", **warmth) == 4 + 16 + 36
    assert value(counted, "breezeway_feature_value_count", **strain) == 2
    assert value(counted, "breezeway_feature_value_sum", **strain) == 30
    assert value(counted, "breezeway_feature_missing_total", **strain) == 1


def test_a_shadow_is_compared_and_counts_no_features() -> None:
    counted = Metrics()
    shadow = counted.tallies["pump", "2", "shadow"] = Tally()
    shadow.predicted(np.array([1.0]), 0.9, True, 0.001)
    shadow.compare(mine=0.9, other=0.4, same_alarm=False)
    shadow.compare(mine=0.5, other=0.6, same_alarm=True)
    of = {"model": "pump", "model_version": "2"}
    assert value(counted, "breezeway_shadow_score_difference_count", **of) == 2
    assert value(counted, "breezeway_shadow_score_difference_sum", **of) == pytest.approx(0.6)
    assert value(counted, "breezeway_shadow_disagreements_total", **of) == 1
    assert not [name for name, _ in samples(counted) if name.startswith("breezeway_feature")]


def test_what_labels_say_is_counted_over_all_roles() -> None:
    counted = Metrics()
    for role in ("champion", "shadow"):
        counted.tally("pump", "1", role, []).feedback[True, False] += 2
    name = "breezeway_feedback_total"
    of = {"model": "pump", "model_version": "1"}
    assert value(counted, name, **of, alarm="true", label="false") == 4
    assert value(counted, name, **of, alarm="false", label="true") == 0


def test_requests_violations_and_what_is_in_progress() -> None:
    counted = Metrics()
    counted.requests["pump", "predict", 422] += 3
    counted.violations["pump", "warmth", "range", "rejected"] += 2
    counted.in_progress, counted.loop_lag = 5, 0.25
    request = {"model": "pump", "endpoint": "predict", "code": "422"}
    assert value(counted, "breezeway_http_requests_total", **request) == 3
    violation = {"model": "pump", "field": "warmth", "rule": "range", "action": "rejected"}
    assert value(counted, "breezeway_contract_violations_total", **violation) == 2
    assert value(counted, "breezeway_requests_in_progress") == 5
    assert value(counted, "breezeway_event_loop_lag_seconds") == 0.25


def test_a_label_may_hold_anything() -> None:
    counted = Metrics()
    odd = 'a "quoted" \\ name\nof two lines'
    counted.requests[odd, "predict", 404] += 1
    request = {"model": odd, "endpoint": "predict", "code": "404"}
    assert value(counted, "breezeway_http_requests_total", **request) == 1


def test_a_version_that_comes_back_counts_on_unless_its_features_are_others(
    counted: Metrics,
) -> None:
    same = counted.tally("pump", "1", "champion", ["warmth", "strain"])
    assert same.outcomes["normal"] == 2
    other = counted.tally("pump", "1", "champion", ["warmth"])
    assert other.outcomes["normal"] == 0


def test_of_many_versions_the_oldest_are_forgotten_but_no_live_one() -> None:
    counted = Metrics()
    for number in range(metrics.KEPT_TALLIES + 5):
        counted.tally("pump", str(number), "champion", [])
    counted.tally("press", "0", "champion", [])
    counted.forget_versions("pump", live={"1"})
    kept = {version for model, version, _ in counted.tallies if model == "pump"}
    assert kept == {"1", *map(str, range(5, metrics.KEPT_TALLIES + 5))}
    assert ("press", "0", "champion") in counted.tallies
