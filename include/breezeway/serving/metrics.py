"""What the model server counts, at BentoML's `/metrics`."""

from functools import cache

import bentoml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from breezeway.deployments import Pointer
from breezeway.serving.active import ActiveModels

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Seconds, from the first byte of the request read to the answer made."""


class Metrics:
    """Counters of one worker process. Only made in it: BentoML sets up their files there."""

    def __init__(self) -> None:
        self._predictions = bentoml.metrics.Counter(
            name="breezeway_predictions_total",
            documentation="Requests for a prediction, by what came of them",
            labelnames=["model", "model_version", "outcome"],
        )
        self._seconds = bentoml.metrics.Histogram(
            name="breezeway_prediction_duration_seconds",
            documentation="Time to read a request and make its prediction",
            labelnames=["model", "model_version"],
            buckets=LATENCY_BUCKETS,
        )
        self._counter = cache(self._predictions.labels)
        self._histogram = cache(self._seconds.labels)

    def predicted(self, pointer: Pointer, alarm: bool, seconds: float) -> None:
        outcome = "alarm" if alarm else "normal"
        self._counter(pointer.model_name, pointer.model_version, outcome).inc()
        self._histogram(pointer.model_name, pointer.model_version).observe(seconds)

    def rejected(self, pointer: Pointer) -> None:
        self._counter(pointer.model_name, pointer.model_version, "rejected").inc()


def describe(models: ActiveModels) -> str:
    """What is live now, as Prometheus text; kept out of the counters' files, where a model
    that has gone would stay."""
    info = GaugeMetricFamily(
        "breezeway_model_info",
        "1 for each model that is live",
        labels=["model", "model_version", "deployment", "data_tag"],
    )
    loaded = GaugeMetricFamily(
        "breezeway_model_loaded_timestamp_seconds", "When it was loaded", labels=["model"]
    )
    swaps = CounterMetricFamily(
        "breezeway_model_swaps", "Models replaced by another while serving", labels=["model"]
    )
    failed = CounterMetricFamily(
        "breezeway_model_load_failures", "Deployments that could not be loaded", labels=["model"]
    )
    for name in models.names():
        live, status = models.get(name), models.status(name)
        if live:
            p = live.pointer
            info.add_metric([name, p.model_version, p.deployment, p.data_tag], 1)
            loaded.add_metric([name], live.loaded_at.timestamp())
        swaps.add_metric([name], status["swaps"])
        failed.add_metric([name], status["failed_loads"])
    return _text([info, loaded, swaps, failed])


def _text(families: list) -> str:
    registry = CollectorRegistry()
    registry.register(type("Live", (), {"collect": lambda self: iter(families)})())
    return generate_latest(registry).decode()
