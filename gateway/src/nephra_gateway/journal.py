"""What is written down of a ticket while it is worked on; nothing once another has it."""

from __future__ import annotations

import asyncio
from typing import Any

from nephra_contract.errors import Unavailable
from nephra_contract.messages import Event
from nephra_gateway.board import Board
from nephra_gateway.eta import Estimate
from nephra_gateway.store import tickets
from nephra_gateway.store.database import Database
from nephra_gateway.store.endings import Ended
from nephra_gateway.store.tickets import Lease, Ticket

#: Progress is written so often at most; what is ready, at once.
_PAUSE_S = 0.25

#: Where the database is away, it is tried again so often.
AWAY_S = 1.0

#: What the row keeps of a step.
Steps = dict[str, dict[str, Any]]


class Journal:
    """The row and the events of one ticket, for who holds its lease.

    Where the database is away, what there is to write waits until it is back.

    Args:
        database: where it is written.
        board: hears of it.
        lease: without it nothing is written.
        ticket: as it was claimed.
        estimate: of the time that it takes.
    """

    def __init__(
        self, database: Database, board: Board, lease: Lease, ticket: Ticket, estimate: Estimate
    ) -> None:
        self.ticket = ticket
        self.lease = lease
        self.steps: Steps = {name: dict(step) for name, step in ticket.steps.items()}
        self._database = database
        self._board = board
        self._estimate = estimate
        self._stage, self._fraction = ticket.stage, ticket.fraction
        self._events: list[Event] = []
        self._changed = asyncio.Event()
        self._progressed = False
        self._writing = asyncio.Lock()

    @property
    def entries(self) -> list[str]:
        """The entries of the cache that its finished steps are."""
        found = [s["entry"] for s in self.steps.values() if s.get("entry")]
        return list(dict.fromkeys(found))

    def __call__(self, event: Event) -> None:
        """Take note of an event; it is written soon."""
        if event.event == "progress":
            self._fraction = max(self._fraction, event.fraction or 0.0)
            self._stage = event.stage
            left_s = self._estimate.left_s(self._fraction)
            told = {"fraction": round(self._fraction, 4), "seconds_left": left_s}
            event = event.model_copy(update=told)
            before = self._events[-1] if self._events else None
            if before and (before.event, before.stage) == ("progress", event.stage):
                self._events.pop()  # nobody needs to hear where it was a moment ago
        self._events.append(event)
        self._changed.set()

    def note(self, name: str, **members: Any) -> None:
        """Take note of what has become of a step; it is written soon."""
        self.steps.setdefault(name, {}).update(members)
        self._changed.set()

    def expect(self, name: str, operation: str) -> None:
        """There will be a result of this name."""
        self.steps.setdefault(name, {"operation": operation, "state": "waiting"})
        self._changed.set()

    def left_out(self, name: str) -> None:
        """There will be no result of this name, and that is no failure."""
        self.note(name, state="left_out")

    async def finished(self, name: str, **members: Any) -> None:
        """Write down that a step is done, so that nobody ever does it again.

        Raises:
            LeaseLost: another one works on the ticket.
        """
        self.note(name, state="finished", fraction=1.0, **members)
        self._progressed = True
        await self.save()

    async def keep(self) -> None:
        """Write down what is noted, until cancelled.

        Raises:
            LeaseLost: another one works on the ticket.
        """
        while True:
            await self._changed.wait()
            await self.save()
            await asyncio.sleep(_PAUSE_S)

    async def save(self) -> None:
        """Write down what is noted.

        Raises:
            LeaseLost: another one works on the ticket.
        """
        async with self._writing:
            self._changed.clear()
            events, self._events = self._events, []
            steps = {name: dict(step) for name, step in self.steps.items()}
            stage, fraction, progressed = self._stage, self._fraction, self._progressed
            self._progressed = False
            await persist(
                self._database,
                lambda c: tickets.record(
                    c,
                    self.lease,
                    events,
                    stage=stage,
                    fraction=fraction,
                    steps=steps,
                    progressed=progressed,
                ),
            )
        self._board.changed(self.ticket.id)

    async def end(self, state: Ended, event: Event, *, cached: bool, entries: list[str]) -> None:
        """Write down how it ended.

        Raises:
            LeaseLost: another one works on the ticket.
        """
        await self.save()
        await persist(
            self._database,
            lambda c: tickets.finish(
                c,
                self.lease,
                state,
                result=event.result,
                problem=event.problem,
                cached=cached,
                entries=entries,
                events=[event],
            ),
        )
        self._board.changed(self.ticket.id, ended=True)


async def persist(database: Database, work: Any) -> Any:
    """Write, and where the database is away, as soon as it is back."""
    while True:
        try:
            return await database.write(work)
        except Unavailable:
            await asyncio.sleep(AWAY_S)
