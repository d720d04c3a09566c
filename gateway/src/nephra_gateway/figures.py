"""What is counted of a gateway, for Prometheus; docs/reference/metrics.md says what it means."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from nephra_contract import logs
from nephra_gateway.busy import Busy

_BUCKETS_S = (0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_PREFIX = "nephra_gateway"


class Figures:
    """Counters of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            f"{_PREFIX}_requests",
            "Requests answered.",
            ["operation", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            f"{_PREFIX}_request_duration_seconds",
            "From a request to the end of its answer.",
            ["operation"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = self._gauge("requests_in_flight", "Requests being served.", "operation")
        self.waiting = self._gauge(
            "requests_waiting", "Requests that wait to try again.", "predictor"
        )
        self.retries = self._counter("retries", "Attempts after the first.")
        self.lost = self._counter("lost", "Requests that were given up.")
        self.up = self._gauge("predictor_up", "Whether a predictor is ready.", "predictor")
        self.data_root = self._gauge(
            "data_root_usable", "Whether the data root is there and can be written."
        )
        self._of_tickets()
        self.cache_hits = self._total("cache_hits", "Results that the cache has answered.")
        self.cache_misses = self._total("cache_misses", "Results that had to be made.")
        self.cache_seconds_saved = self._total(
            "cache_seconds_saved", "Seconds that it took to make what the cache has answered."
        )
        self.cache_entries = self._gauge("cache_entries", "Results that can be found again.")
        self.cache_bytes = self._gauge("cache_bytes", "Bytes of their files.")

    def _of_tickets(self) -> None:
        """What waits and runs in all gateways, and what this one has done."""
        self.tickets = self._gauge("tickets", "Tickets that are kept.", "state")
        self.tickets_oldest = self._gauge(
            "tickets_oldest_seconds", "Age of the oldest ticket that waits; 0 without one."
        )
        self.worked = Counter(
            f"{_PREFIX}_tickets_worked",
            "Tickets that were worked on to their end.",
            ["operation", "outcome"],
            registry=self.registry,
        )
        self.queue_length = self._gauge(
            "queue_length", "Steps that wait for their turn.", "predictor"
        )
        self.queue_oldest = self._gauge(
            "queue_oldest_seconds", "For how long the oldest of them has waited.", "predictor"
        )
        self.turns = self._gauge("turns", "Steps that have their turn.", "predictor")
        self.turns_limit = self._gauge("turns_limit", "How many may have it at once.", "predictor")
        self.steps = Histogram(
            f"{_PREFIX}_step_duration_seconds",
            "Run time of steps, without their waiting.",
            ["operation"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.webhooks = Counter(
            f"{_PREFIX}_webhook_deliveries",
            "Attempts to tell somebody that a ticket has ended.",
            ["outcome"],
            registry=self.registry,
        )
        self.busy = Busy(f"{_PREFIX}_busy_seconds", "Seconds that steps had their turn.")
        self.registry.register(self.busy)

    def count(self, operation: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self.requests.labels(operation, str(status)).inc()
        self.seconds.labels(operation).observe(seconds)

    def told(self, outcome: str) -> None:
        """Count an attempt to tell somebody that a ticket has ended."""
        failed = "given_up" if outcome.endswith("given up") else "failed"
        self.webhooks.labels(outcome if outcome == "delivered" else failed).inc()

    def serve(self, host: str, port: int) -> None:
        """Show them on a port of their own, from a thread of its own.

        Raises:
            OSError: the address is taken.
        """
        start_http_server(port, host, self.registry)
        logs.line("showing metrics", host=host, port=port)

    def _counter(self, name: str, text: str) -> Counter:
        labels = ["predictor", "reason"]
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _total(self, name: str, text: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)
