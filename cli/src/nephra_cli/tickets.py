"""Tickets as a client sees them. A newer gateway may say more; that is passed over."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from nephra_cli.transport import parse

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

#: States after which nothing happens to a ticket any more.
ENDED = frozenset[State]({"succeeded", "failed", "cancelled"})


class _View(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Step(_View):
    """One step of a ticket; `fraction` is 0..1."""

    name: str
    operation: str = ""
    state: str
    fraction: float = 0.0
    stage: str = ""
    seconds: float | None = None
    cached: bool = False


class Ticket(_View):
    """One requested piece of work and its fate.

    `fraction` is 0..1 of the whole; `position` how many queued tickets come before; `created`,
    `started` and `ended` are ISO 8601 in UTC; `result` is the answer, `problem` why there is none.
    """

    ticket: str
    operation: str
    state: State
    stage: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None
    position: int | None = None
    priority: int = 3
    owner: str = ""
    attempts: int = 0
    cached: bool = False
    created: str = ""
    started: str | None = None
    ended: str | None = None
    request: dict[str, Any] = Field(default_factory=dict)
    steps: list[Step] = Field(default_factory=list)
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None

    @classmethod
    def of(cls, operation: str, said: Any) -> Self:
        """What was said to a submission; where the answer came at once, its ended ticket."""
        if isinstance(said, dict) and "state" not in said and "ticket" in said:
            fate = {"state": "succeeded", "fraction": 1.0, "cached": said.get("cached", False)}
            said = {"ticket": said["ticket"], "operation": operation, "result": said, **fate}
        return parse(cls, said)

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state in ENDED


class TicketPage(_View):
    """Tickets, the newest first; `next` is the cursor of the page behind."""

    tickets: list[Ticket]
    next: str | None = None


class CacheFigures(_View):
    """What the prediction cache holds, and how it has served."""

    entries: int
    bytes: int
    max_bytes: int
    unused_s: float
    hits: int
    misses: int
    seconds_saved: float
