from __future__ import annotations

from typing import Any

import pytest

from nephra_contract.errors import NephraError, Unavailable
from nephra_contract.messages import Event
from nephra_gateway.problems import WorkLost
from nephra_gateway.retries import Loss, Patience, Telling


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now_s


def loss(**how: bool) -> Loss:
    """A loss, for example of work that had been taken."""
    return Loss("p", "closed", Unavailable("It is gone.", "Try again."), **how)


def test_waiting_for_who_is_not_there_is_bounded_by_time_alone() -> None:
    """However many attempts fit in; the last pause ends with the time."""
    clock = Clock()
    patience = Patience(600, clock)
    attempts = 0

    def wait_for_ever() -> None:
        nonlocal attempts
        while True:
            clock.now_s += patience.after(loss())
            attempts += 1

    with pytest.raises(Unavailable) as error:
        wait_for_ever()
    assert error.value.code == "predictor_unavailable"
    assert clock.now_s == pytest.approx(700)
    assert 600 / 5 <= attempts <= 600 / 2.5 + 10


def test_pauses_grow_and_differ() -> None:
    """From a fifth of a second to five, half of each by chance."""
    pauses = [[p.after(loss()) for _ in range(8)] for p in (Patience(600), Patience(600))]
    for n, (one, other) in enumerate(zip(*pauses, strict=True)):
        longest = min(0.2 * 2**n, 5)
        assert longest / 2 <= min(one, other) <= max(one, other) <= longest
        assert one != other


def test_the_third_death_at_one_work_ends_it() -> None:
    """Whatever lies between them."""
    patience = Patience(600)
    patience.after(loss(died=True))
    patience.after(loss())
    patience.after(loss(died=True))
    with pytest.raises(WorkLost) as error:
        patience.after(loss(died=True))
    assert error.value.code == "work_lost"
    assert error.value.status == 502


def test_time_begins_anew_when_the_work_was_taken_on() -> None:
    """A rollout may end one pod after the other, hours of work between them."""
    clock = Clock()
    patience = Patience(10, clock)
    for _ in range(5):
        assert patience.after(loss(taken=True)) <= 0.2
        clock.now_s += 1000
    with pytest.raises(Unavailable):
        patience.after(loss())


def test_work_that_is_taken_on_and_given_back_for_ever_ends() -> None:
    """Time alone would not bound it."""
    patience = Patience(10)
    for _ in range(9):
        patience.after(loss(taken=True))
    with pytest.raises(Unavailable):
        patience.after(loss(taken=True))


def test_no_patience_is_none() -> None:
    """The first loss is the last, in its own words."""
    for how in ({}, {"taken": True}, {"died": True}):
        with pytest.raises(NephraError) as error:
            Patience(0).after(loss(**how))
        assert error.value.detail == "It is gone."


def test_what_is_told_never_steps_back_nor_repeats() -> None:
    """The second attempt begins at 0 again; the caller does not hear of it."""
    heard: list[Event] = []
    telling = Telling(heard.append)
    mask: dict[str, Any] = {"manifest_path": "m.json"}
    for fraction in (0.1, 0.6):
        telling(Event(event="progress", stage="at it", fraction=fraction))
    telling(Event(event="artifact", stage="one", artifact=mask))
    telling.wait("p")
    telling(Event(event="progress", stage="at it", fraction=0.2))
    telling(Event(event="artifact", stage="one", artifact=mask))
    telling(Event(event="artifact", stage="two", artifact={"manifest_path": "n.json"}))
    assert [e.fraction for e in heard if e.event == "progress"] == [0.1, 0.6, 0.6, 0.6]
    assert [e.stage for e in heard] == ["at it", "at it", "one", "waiting for p", "at it", "two"]
