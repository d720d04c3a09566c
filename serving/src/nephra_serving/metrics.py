"""Counts and times by operation, in the registry that KServe's `/metrics` shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from nephra_contract.errors import NephraError

_BUCKETS_S = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800)


@dataclass(frozen=True)
class Metrics:
    """What is counted of a predictor's work."""

    requests: Counter
    seconds: Histogram
    running: Gauge
    waiting: Gauge
    lost: Counter

    @contextmanager
    def watch(self, operation: str) -> Iterator[None]:
        """Count one piece of work and how it ended: `ok` or the error's code."""
        started, outcome = time.perf_counter(), "internal_error"
        try:
            with self.running.labels(operation).track_inprogress():
                yield
            outcome = "ok"
        except NephraError as error:
            outcome = error.code
            raise
        finally:
            self.requests.labels(operation, outcome).inc()
            self.seconds.labels(operation, outcome).observe(time.perf_counter() - started)


@cache
def metrics() -> Metrics:
    """The process's own; registered at first use."""
    return Metrics(
        Counter("nephra_requests", "Requests worked on.", ["operation", "outcome"]),
        Histogram(
            "nephra_request_seconds",
            "Time of the work.",
            ["operation", "outcome"],
            buckets=_BUCKETS_S,
        ),
        Gauge("nephra_requests_running", "Requests worked on now.", ["operation"]),
        Gauge("nephra_requests_waiting", "Requests that wait for their turn."),
        Counter("nephra_workers_lost", "Workers that ended unasked, and were replaced."),
    )
