"""What a ticket is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from sqlalchemy import Row

from nephra_gateway.store.schema import tickets

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

#: Nothing more happens to a ticket in one of these.
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


class LeaseLost(Exception):
    """Somebody else works on the ticket now, or it has ended: what was made of it is void."""


@dataclass(frozen=True)
class Asked:
    """One requested piece of work.

    Args:
        id: the ticket, 32 hexadecimal digits.
        operation: its name.
        request: as it was asked.
        owner: name of the token that asks.
        priority: 0 most urgent to 7 least.
        idempotency_key: who asks twice with the same one gets one ticket.
        callback_url: who is told when it has ended.
        fresh: nothing is taken from the cache.
        trace: W3C traceparent of who asks.
    """

    id: str
    operation: str
    request: Mapping[str, Any]
    owner: str
    priority: int = 3
    idempotency_key: str | None = None
    callback_url: str | None = None
    fresh: bool = False
    trace: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ticket(Asked):
    """A ticket as it was when it was read. Times are seconds since 1970.

    Args:
        state: where it is.
        stage: what is being done.
        fraction: the part (0..1) that is done.
        steps: what each step has come to, by name.
        result: the answer, once it has succeeded.
        problem: the problem document, where it has not.
        cached: the answer was there before.
        attempts: how often it was claimed since a step last finished.
        fence: how often it was claimed at all; a claim's own number.
        holder: who works on it.
        cancelling: its worker has to stop.
        created_s: when it was asked.
        started_s: when it was first claimed.
        ended_s: when it ended.
        updated_s: when something last happened to it.
        last_event: the number of its last event; the first is 1.
    """

    state: State
    stage: str
    fraction: float
    steps: dict[str, dict[str, Any]]
    result: dict[str, Any] | None
    problem: dict[str, Any] | None
    cached: bool
    attempts: int
    fence: int
    holder: str | None
    cancelling: bool
    created_s: float
    started_s: float | None
    ended_s: float | None
    updated_s: float
    last_event: int

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED


@dataclass(frozen=True)
class Lease:
    """The right to write to a ticket.

    Args:
        ticket: its id.
        holder: who has it.
        fence: of the claim that gave it; a later claim has a larger one.
    """

    ticket: str
    holder: str
    fence: int


_NAMES = tuple(field.name for field in fields(Ticket))

#: What a ticket is read from.
COLUMNS = tuple(tickets.c[name] for name in _NAMES)


def ticket_of(row: Row[Any]) -> Ticket:
    """The ticket of a row of `COLUMNS`."""
    members = dict(zip(_NAMES, row, strict=True))
    # SQLite's RETURNING gives a whole number as an integer.
    return Ticket(**{**members, "fraction": float(members["fraction"])})
