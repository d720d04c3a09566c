from __future__ import annotations

import pytest

from nephra_gateway.eta import Estimate


class Clock:
    """Says what it is told."""

    now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that is set by hand."""
    return Clock()


def test_nothing_is_said_of_what_nobody_knows(clock: Clock) -> None:
    """At the beginning of the first work of its kind there is no estimate."""
    assert Estimate(None, clock=clock).left_s(0.0) is None
    assert Estimate(None, clock=clock).left_s(0.01) is None


def test_at_the_beginning_the_past_is_believed(clock: Clock) -> None:
    """Such work took a minute before."""
    estimate = Estimate(60.0, clock=clock)
    assert estimate.left_s(0.0) == 60.0
    clock.now_s = 1.0
    assert estimate.left_s(0.01) == pytest.approx(59.4)


def test_towards_the_end_what_was_seen_is_believed(clock: Clock) -> None:
    """It goes twice as slow as before: the nearer the end, the less the past counts."""
    estimate = Estimate(60.0, clock=clock)
    clock.now_s = 108.0
    assert estimate.left_s(0.9) == pytest.approx((0.9 * 120 + 0.1 * 60) * 0.1, abs=0.1)
    clock.now_s = 120.0
    assert estimate.left_s(1.0) == 0.0


def test_what_was_done_before_it_was_begun_does_not_make_it_quick(clock: Clock) -> None:
    """Another worker has done the first half: only the second half was seen."""
    estimate = Estimate(None, begun=0.5, clock=clock)
    clock.now_s = 10.0
    assert estimate.left_s(0.6) == pytest.approx(40.0)
