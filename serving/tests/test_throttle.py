from __future__ import annotations

from typing import Any

from nephra_serving.throttle import Throttle


class _Clock:
    """Seconds that pass when told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_throttle_passes_four_events_a_second() -> None:
    """A thousand reports within one second become about four events."""
    clock = _Clock()
    throttle = Throttle(clock=clock)
    sent: list[Any] = []
    for step in range(1000):
        clock.now_s = step / 1000
        sent.append(throttle.admit(step / 2000, "work"))
    assert len([e for e in sent if e is not None]) == 4


def test_the_throttle_never_goes_back() -> None:
    """A fraction lower than one that was said is lifted to it."""
    throttle = Throttle(clock=_Clock())
    throttle.admit(0.6, "a")
    event = throttle.admit(0.3, "b")
    assert event is not None
    assert event.fraction == 0.6
