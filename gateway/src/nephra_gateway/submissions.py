"""From a request for work to its ticket: new, known by its key, or answered already."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from nephra_contract import traces
from nephra_contract.errors import NotFound
from nephra_contract.results import new_ticket
from nephra_gateway.auth import Caller
from nephra_gateway.board import Board
from nephra_gateway.jobs import Jobs
from nephra_gateway.keys import files_of
from nephra_gateway.store import entries, tickets
from nephra_gateway.store.database import Database
from nephra_gateway.store.tickets import Asked, Ticket
from nephra_gateway.wishes import Wishes
from nephra_gateway.worker import Worker

#: Refuses a request, or lets it pass.
Judge = Callable[[], Awaitable[None]]


async def _let_pass() -> None:
    """Refuse nothing."""


@dataclass(frozen=True)
class Submissions:
    """Makes tickets, and finds them again.

    Args:
        database: where they are.
        board: hears of them.
        jobs: knows what has been done already.
        worker: of this gateway; others look by themselves.
    """

    database: Database
    board: Board
    jobs: Jobs
    worker: Worker

    async def submit(
        self,
        operation: str,
        body: Mapping[str, Any],
        caller: Caller,
        wishes: Wishes,
        judge: Judge = _let_pass,
    ) -> Ticket:
        """Ask for work; a ticket that the cache has the answer of has ended at once.

        Args:
            operation: its name.
            body: of the request.
            caller: who asks.
            wishes: how.
            judge: refuses what cannot be done, before there is a ticket of it.

        Raises:
            NephraError: of the judge.
            Unprocessable: the idempotency key stands for other work.
            Unavailable: the database is away.
        """
        asked = Asked(
            id=new_ticket(),
            operation=operation,
            request=dict(body),
            owner=caller.name,
            priority=wishes.priority,
            idempotency_key=wishes.idempotency_key,
            callback_url=wishes.callback_url,
            fresh=wishes.fresh,
            trace=traces.current(),
        )
        done = None if wishes.fresh else await self.jobs.done(asked)
        if done is not None:
            ended = await self.database.write(partial(_submit_done, asked, *done))
            if ended is not None:
                return ended
        await judge()
        ticket, new = await self.database.write(lambda c: tickets.submit(c, asked))
        if new:
            self.jobs.foresee(files_of(body) or {})
            self.worker.look()
        return ticket

    async def get(self, ticket_id: str) -> Ticket | None:
        """A ticket; None where there is none.

        Raises:
            Unavailable: the database is away.
        """
        return await self.database.read(lambda c: tickets.get(c, ticket_id))

    async def mine(self, ticket_id: str, caller: Caller) -> Ticket:
        """A ticket that a caller may see.

        Raises:
            NotFound: there is none, or it is somebody else's.
            Unavailable: the database is away.
        """
        ticket = await self.get(ticket_id)
        if ticket is None or not (caller.admin or ticket.owner == caller.name):
            raise NotFound(
                "There is no such ticket.",
                "GET /tickets lists those that are kept.",
                code="ticket_unknown",
            )
        return ticket

    async def position(self, ticket: Ticket) -> int | None:
        """How many queued tickets come before a queued one.

        Raises:
            Unavailable: the database is away.
        """
        if ticket.state != "queued":
            return None
        return await self.database.read(lambda c: tickets.position(c, ticket))

    async def cancel(self, ticket_id: str) -> Ticket | None:
        """Have a ticket cancelled; whoever works on it stops soon.

        Raises:
            Unavailable: the database is away.
        """
        # Who hangs up must not cut this short.
        return await asyncio.shield(self._cancel(ticket_id))

    async def _cancel(self, ticket_id: str) -> Ticket | None:
        ticket = await self.database.write(lambda c: tickets.cancel(c, ticket_id))
        if ticket is not None:
            if ticket.cancelling:
                self.worker.cancel(ticket_id)
            self.board.changed(ticket_id, ended=ticket.state in tickets.ENDED)
        return ticket


def _submit_done(
    asked: Asked, answer: dict[str, Any], entry: str, connection: Connection
) -> Ticket | None:
    """Keep a ticket with an answer from the cache; None where that has just gone."""
    if not entries.whole(connection, [entry]):
        return None
    return tickets.submit_done(connection, asked, answer, [entry])
