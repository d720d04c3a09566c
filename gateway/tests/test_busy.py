"""Seconds of work, exact whenever they are asked for."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from nephra_gateway.busy import Busy


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now_s


def test_work_counts_while_it_goes_on() -> None:
    """As far as it has come, side by side, and not again when it ends."""
    clock, registry = Clock(), CollectorRegistry()
    busy = Busy("toy_busy_seconds", "Work.", clock)
    registry.register(busy)

    def seconds(predictor: str) -> float | None:
        return registry.get_sample_value("toy_busy_seconds_total", {"predictor": predictor})

    busy.expect("idle")
    with busy.at_work("nnunet"):
        clock.now_s += 5
        assert seconds("nnunet") == 5
        with busy.at_work("nnunet"), busy.at_work("smoothing"):
            clock.now_s += 2
            assert seconds("nnunet") == 9
        assert seconds("nnunet") == 9
    clock.now_s += 50
    assert (seconds("nnunet"), seconds("smoothing"), seconds("idle")) == (9, 2, 0)


def test_work_that_fails_has_taken_its_time() -> None:
    """And ends."""
    clock, registry = Clock(), CollectorRegistry()
    busy = Busy("toy_busy_seconds", "Work.", clock)
    registry.register(busy)

    def fail() -> None:
        clock.now_s += 3
        raise ValueError("toy")

    with pytest.raises(ValueError, match="toy"), busy.at_work("nnunet"):
        fail()
    clock.now_s += 3
    assert registry.get_sample_value("toy_busy_seconds_total", {"predictor": "nnunet"}) == 3
