from __future__ import annotations

import pytest

from nephra_gateway.rates import Rates, TooManyRequests


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """What it is now."""
        return self.now_s


def taken(rates: Rates, name: str, tries: int) -> int:
    """How many of these requests are let in."""
    count = 0
    for _ in range(tries):
        try:
            rates.take(name)
        except TooManyRequests:
            continue
        count += 1
    return count


def test_a_burst_is_let_in_and_then_as_many_as_the_rate() -> None:
    """A pause fills the bucket again, to its brim and no further."""
    clock = Clock()
    rates = Rates(2, 5, clock)
    assert taken(rates, "jane", 9) == 5
    clock.now_s += 1.5
    assert taken(rates, "jane", 9) == 3
    clock.now_s += 1000
    assert taken(rates, "jane", 9) == 5


def test_each_caller_has_a_bucket() -> None:
    """Who asks too much takes nothing from others."""
    rates = Rates(1, 1, Clock())
    assert taken(rates, "jane", 5) == 1
    assert taken(rates, "john", 5) == 1


def test_the_error_says_when_to_ask_again() -> None:
    """Whole seconds, after which it is let in."""
    clock = Clock()
    rates = Rates(0.25, 1, clock)
    rates.take("jane")
    with pytest.raises(TooManyRequests) as refused:
        rates.take("jane")
    assert refused.value.extra["retry_after_s"] == 4
    clock.now_s += 4
    rates.take("jane")


def test_no_rate_is_no_limit() -> None:
    """As it is installed by default."""
    assert taken(Rates(), "jane", 10_000) == 10_000
