"""How long predictors have been at work, exact at each scrape: what a share of time is made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Busy(Collector):
    """Seconds of work by predictor; work that still goes on counts as far as it has come.

    A counter that grew only when work ends would stand still for minutes, and then leap.

    Args:
        name: of the metric.
        text: what it is.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._text = text
        self._clock = clock
        self._lock = threading.Lock()  # scrapes come from a thread of their own
        self._ended_s: dict[str, float] = {}
        self._since_s: dict[object, tuple[str, float]] = {}

    @contextmanager
    def at_work(self, predictor: str) -> Iterator[None]:
        """The block is work of a predictor."""
        key = object()
        with self._lock:
            self._since_s[key] = predictor, self._clock()
        try:
            yield
        finally:
            with self._lock:
                _, since = self._since_s.pop(key)
                before = self._ended_s.get(predictor, 0.0)
                self._ended_s[predictor] = before + self._clock() - since

    def expect(self, predictor: str) -> None:
        """Show a predictor before its first work."""
        with self._lock:
            self._ended_s.setdefault(predictor, 0.0)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The figures at this moment."""
        with self._lock:
            found, now = dict(self._ended_s), self._clock()
            for predictor, since in self._since_s.values():
                found[predictor] = found.get(predictor, 0.0) + now - since
        family = CounterMetricFamily(self._name, self._text, labels=["predictor"])
        for predictor, seconds in sorted(found.items()):
            family.add_metric([predictor], seconds)
        yield family
