"""Metrics of the server in Prometheus's format."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

disable_created_metrics()  # a time for each counter, which nobody asks for
TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32)
_CLASSES = 1000  # names that are counted each by itself, at most


class Metrics:
    """Counters of one server."""

    def __init__(self):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "plantdoc_requests", "Requests, by route and HTTP status.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "plantdoc_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch = Histogram(
            "plantdoc_batch_size", "Pictures in a call of the model.", buckets=_SIZES, registry=self.registry
        )
        self._detections = Counter(
            "plantdoc_detections", "Detections that were sent, by class.", ["class"], registry=self.registry
        )
        self._classes: set[str] = set()
        self.bodies = Gauge("plantdoc_bodies", "Bodies in memory.", registry=self.registry)
        self.waiting = Gauge("plantdoc_waiting", "Requests that wait to be read.", registry=self.registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int) -> None:
        self._batch.observe(size)

    def classes(self, names: Iterable[str]) -> None:
        """Count from 0, so that a class that was never found shows too."""
        for name in names:
            self._of(name)

    def detections(self, names: Iterable[str]) -> None:
        for name in names:
            self._of(name).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _of(self, name: str):
        if name not in self._classes and len(self._classes) >= _CLASSES:
            name = "other"  # an endpoint elsewhere may name what it likes
        self._classes.add(name)
        return self._detections.labels(name)
