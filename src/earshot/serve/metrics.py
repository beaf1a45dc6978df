"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from earshot.serve.admission import Admission

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server; routes are told by their pattern, so that no client can make up new ones."""

    def __init__(
        self, admission: Admission, lost: Callable[[], int], alive: Callable[[], int], up: Callable[[], int]
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "earshot_requests", "Requests by route and status.", ["route", "status"], registry=self._registry
        )
        self._of_keys = Counter(
            "earshot_key_requests", "Requests by the name of the key that came with them.", ["key"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "earshot_request_seconds", "From the headers to the answer.", ["route"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._sizes = Histogram(
            "earshot_batch_size", "Questions asked together.", ["kind"], buckets=_SIZES, registry=self._registry
        )
        self._model = Histogram(
            "earshot_batch_seconds", "What a batch took.", ["kind"], buckets=_SECONDS, registry=self._registry
        )

        under_way = Gauge("earshot_under_way", "What was let in.", ["quantity"], registry=self._registry)
        for name in admission.now._fields:
            under_way.labels(name).set_function(partial(attrgetter(f"now.{name}"), admission))
        places = [
            ("in_use", "Requests that hold something of the server.", lambda: len(admission.held)),
            ("lost", "Those of them that nobody sees to any more: 0, or there is a fault.", lost),
        ]
        for name, text, count in places:
            Gauge(f"earshot_places_{name}", text, registry=self._registry).set_function(count)
        self._replaced = Counter(
            "earshot_model_replacements", "How often another model was asked for.", ["outcome"], registry=self._registry
        )
        Gauge("earshot_model_processes", "Batches that can be asked about.", registry=self._registry).set_function(up)
        Gauge("earshot_requests_alive", "Requests that somebody sees to.", registry=self._registry).set_function(alive)

    def request(self, route: str, status: int, key: str, seconds: float) -> None:
        """A request has been answered; status 0 is a client that left."""
        self._requests.labels(route, str(status)).inc()
        self._of_keys.labels(key).inc()
        self._seconds.labels(route).observe(seconds)

    def replaced(self, outcome: Literal["replaced", "failed"]) -> None:
        """Another model was asked for."""
        self._replaced.labels(outcome).inc()

    def batch(self, kind: str, n: int, seconds: float) -> None:
        """A batch has been answered."""
        self._sizes.labels(kind).observe(n)
        self._model.labels(kind).observe(seconds)

    def text(self) -> bytes:
        """In the text format."""
        return generate_latest(self._registry)
