"""Works on tickets: whichever gateway has room takes the next one, and says that it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from nephra_contract import logs
from nephra_contract.errors import Cancelled, NephraError, Unavailable
from nephra_contract.messages import Event
from nephra_gateway.board import Board
from nephra_gateway.ending import Ending
from nephra_gateway.eta import Estimate
from nephra_gateway.held import Held
from nephra_gateway.journal import AWAY_S, Journal, persist
from nephra_gateway.problems import document, ours
from nephra_gateway.stages import Tools
from nephra_gateway.store import tickets
from nephra_gateway.store.database import Database
from nephra_gateway.store.endings import Ended
from nephra_gateway.store.history import usual_s
from nephra_gateway.store.tickets import Lease, LeaseLost, Ticket

#: Tickets that other gateways have been given are looked for so often.
_LOOK_S = 0.5

#: Leases last for several beats, and a beat brings word of what is to be cancelled.
_BEAT_S = 1.0

#: A gateway that has to end waits so long for what it still has to write down.
_ENDED_WITHIN_S = 8.0

#: Statuses of what somebody else may have better luck with.
_AWAY = (502, 503, 504)


@dataclass(frozen=True)
class Finished:
    """A ticket's work, done.

    Args:
        answer: for the caller.
        cached: nothing of it had to be made.
        entries: of the cache that it names.
    """

    answer: dict[str, Any]
    cached: bool
    entries: list[str]


class _Ending(Exception):
    """This gateway ends; another one, or the next, can do what it could not."""


#: Does a ticket's work, and writes down in the journal how it goes.
Work = Callable[[Journal], Awaitable[Finished]]


class Worker:
    """The tickets that this gateway works on.

    Args:
        database: where tickets are.
        board: hears of them.
        tools: what the work needs.
        work: does it.
        holder: this gateway's name.
        at_once: how many tickets.
        lease_s: a worker that is silent for longer loses its tickets.
        ending: of this gateway.
    """

    def __init__(
        self,
        database: Database,
        board: Board,
        tools: Tools,
        work: Work,
        *,
        holder: str,
        at_once: int,
        lease_s: float,
        ending: Ending,
    ) -> None:
        self._database = database
        self._board = board
        self._tools = tools
        self._work = work
        self._holder = holder
        self._at_once = at_once
        self._lease_s = lease_s
        self._held: dict[str, Held] = {}
        self._asked = asyncio.Event()
        self._ending = ending

    def look(self) -> None:
        """There may be a ticket to work on."""
        self._asked.set()

    def cancel(self, ticket: str) -> None:
        """Stop the work for a ticket that is to be cancelled, if it is here."""
        if ticket in self._held:
            self._held[ticket].stop("cancelled")

    async def run(self) -> None:
        """Take tickets and work on them, until cancelled."""
        while True:
            self._asked.clear()
            room = self._at_once - len(self._held)
            claimed: list[tuple[Lease, Ticket]] = []
            if room > 0 and not self._ending.begun.is_set():
                claimed = await self._claim(room)
            for lease, ticket in claimed:
                self._take(lease, ticket)
            if len(claimed) < room or room == 0:
                await self._wait(_LOOK_S)

    async def beat(self) -> None:
        """Say that this one lives, and hear what it has lost, until cancelled."""
        while True:
            await asyncio.sleep(min(_BEAT_S, self._lease_s / 3))
            try:
                await self._tools.queues.beat()
                found = await self._database.write(self._prolong)
            except Unavailable:
                continue  # the work goes on; the leases are looked at when it is back
            for ticket, state in found.items():
                if state != "held" and ticket in self._held:
                    self._held[ticket].stop("cancelled" if state == "cancelling" else "lost")

    async def finish(self, drain_s: float) -> None:
        """Finish what can be finished in time; give the rest back, for others to go on with it."""
        tasks = {held.task for held in self._held.values()}
        if not tasks:
            return
        over = asyncio.ensure_future(self._ending.over.wait())
        ended = asyncio.ensure_future(asyncio.wait(tasks))
        await asyncio.wait({over, ended}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        for held in list(self._held.values()):
            held.stop("ending")
        await asyncio.wait({ended}, timeout=_ENDED_WITHIN_S)

    def _prolong(self, connection: Connection) -> dict[str, tickets.Beat]:
        leases = [held.lease for held in self._held.values()]
        return tickets.beat(connection, leases, self._lease_s)

    def _take(self, lease: Lease, ticket: Ticket) -> None:
        before, held = self._held.get(ticket.id), Held(lease)
        self._held[ticket.id] = held
        task = held.begin(self._after(before, held, ticket))
        task.add_done_callback(partial(self._done, ticket.id, held))

    async def _after(self, before: Held | None, held: Held, ticket: Ticket) -> None:
        """Work on a ticket; one that was frozen may find that it has just lost it to itself."""
        if before is not None:
            before.stop("lost")
            await asyncio.wait({before.task})
        await self._do(held, ticket)

    def _done(self, ticket: str, held: Held, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logs.defect("work for a ticket failed unexpectedly", error, ticket=ticket)
        if self._held.get(ticket) is held:
            del self._held[ticket]
        self.look()

    async def _wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._asked.wait()
        except TimeoutError:
            pass

    async def _claim(self, room: int) -> list[tuple[Lease, Ticket]]:
        try:
            return await self._database.write(
                lambda c: tickets.claim(c, self._holder, self._lease_s, room)
            )
        except Unavailable:
            await asyncio.sleep(AWAY_S)
            return []

    async def _do(self, held: Held, ticket: Ticket) -> None:
        """Work on a ticket until it has ended, is lost, or is given back."""
        said: dict[str, Any] = {"ticket": ticket.id, "operation": ticket.operation}
        logs.line("ticket begun", attempt=ticket.attempts, **said)
        try:
            try:
                estimate = Estimate(await self._before_s(ticket), ticket.fraction)
                journal = Journal(self._database, self._board, held.lease, ticket, estimate)
                outcome = await self._outcome(held, journal)
                await _whole(asyncio.create_task(self._end(journal, *outcome)))
            except (asyncio.CancelledError, _Ending):
                await self._stop(ticket.id)
                await persist(self._database, lambda c: tickets.give_back(c, held.lease))
                logs.line("ticket given back", **said)
        except LeaseLost:
            logs.line("ticket lost to another worker", **said)

    async def _outcome(self, held: Held, journal: Journal) -> tuple[Ended, Event, Finished | None]:
        """Do the work; gives how it ended.

        Raises:
            LeaseLost: another one works on it.
            CancelledError: this gateway has to end.
        """
        ticket = journal.ticket
        keeping = asyncio.create_task(journal.keep())
        working = asyncio.create_task(self._begin(journal))
        try:
            await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                keeping.result()  # it ends only with an error
            done = working.result()
            return "succeeded", Event(event="result", fraction=1.0, result=done.answer), done
        except asyncio.CancelledError as error:
            await _end(working)
            if held.reason == "lost":
                raise LeaseLost from error
            if held.reason != "cancelled":
                raise
            await self._stop(ticket.id)
            return "cancelled", _problem(_cancelled()), None
        except LeaseLost:
            raise
        except Exception as error:
            problem = _problem(ours(error))
            if self._ending.begun.is_set() and (problem.problem or {})["status"] in _AWAY:
                raise _Ending from error  # predictors that end with this gateway
            return "failed", problem, None
        finally:
            await _end(working)
            await _end(keeping)

    async def _begin(self, journal: Journal) -> Finished:
        await self._tools.folders.open(journal.ticket.id, journal.lease.fence)
        if journal.lease.fence > 1:  # who had it before may be frozen, and its predictor at work
            await self._tools.predictors.withdraw(journal.ticket.id)
        return await self._work(journal)

    async def _end(
        self, journal: Journal, state: Ended, event: Event, done: Finished | None
    ) -> None:
        await self._tools.folders.close(journal.ticket.id)
        cached, entries = (done.cached, done.entries) if done else (False, [])
        await journal.end(state, event, cached=cached, entries=entries)
        logs.line(
            "ticket ended",
            ticket=journal.ticket.id,
            operation=journal.ticket.operation,
            state=state,
            **({"cached": cached} if done else {"code": (event.problem or {}).get("code")}),
        )

    async def _stop(self, ticket: str) -> None:
        """Have all work for a ticket stopped, also what lives on unheard."""
        await self._tools.folders.close(ticket)
        await self._tools.predictors.withdraw(ticket)

    async def _before_s(self, ticket: Ticket) -> float | None:
        try:
            return await self._database.read(lambda c: usual_s(c, ticket.operation))
        except Unavailable:
            return None


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has cleaned up."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # taken note of


async def _whole(task: asyncio.Task[None]) -> None:
    """Wait for a task to its end, even if that is not wanted any more."""
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            pass
    task.result()


def _problem(error: NephraError) -> Event:
    return Event(event="problem", problem=document(error).model_dump(mode="json"))


def _cancelled() -> NephraError:
    return Cancelled("The ticket was cancelled.", "Send the request again to start anew.")
