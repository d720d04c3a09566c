"""How tickets end, whoever ends them: the state, the last event, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from nephra_contract.errors import Cancelled, NephraError
from nephra_contract.messages import Event, Problem
from nephra_gateway.store.clock import now_s
from nephra_gateway.store.deliveries import enqueue
from nephra_gateway.store.schema import ticket_entries, ticket_events, tickets
from nephra_gateway.store.ticket import COLUMNS, Ticket, ticket_of

Ended = Literal["succeeded", "failed", "cancelled"]

_EVENTS = ticket_events.insert()
_ENTRIES = ticket_entries.insert()


def cancel(connection: Connection, ticket_id: str) -> Ticket | None:
    """Cancel a ticket: at once if it is queued; a running one's worker learns of it.

    Returns:
        The ticket as it is then; None where there is none. One that had ended is unchanged.
    """
    query = sa.select(*COLUMNS).where(tickets.c.id == ticket_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    ticket = ticket_of(row)
    if ticket.state == "queued":
        return end_by(connection, ticket_id, "cancelled", cancelled())
    if ticket.state == "running" and not ticket.cancelling:
        change = (
            tickets.update()
            .where(tickets.c.id == ticket_id)
            .values(cancelling=True, updated_s=now_s(connection))
            .returning(*COLUMNS)
        )
        return ticket_of(connection.execute(change).one())
    return ticket


def end_by(connection: Connection, ticket_id: str, state: Ended, problem: dict[str, Any]) -> Ticket:
    """End a ticket that nobody works on, with the event of its problem."""
    now = now_s(connection)
    change = (
        tickets.update()
        .where(tickets.c.id == ticket_id)
        .values(
            state=state,
            problem=problem,
            last_event=tickets.c.last_event + 1,
            **settled(now),
        )
        .returning(*COLUMNS)
    )
    ticket = ticket_of(connection.execute(change).one())
    append(connection, ticket_id, ticket.last_event, [Event(event="problem", problem=problem)])
    told(connection, ticket, now)
    return ticket


def settled(now: float) -> dict[str, Any]:
    """The columns that are the same for every ticket that has ended."""
    return {"ended_s": now, "updated_s": now, "holder": None, "lease_until_s": None}


def told(connection: Connection, ticket: Ticket, now: float) -> None:
    """Called once for each ticket that has ended, in the same transaction."""
    enqueue(connection, ticket, now)


def append(connection: Connection, ticket_id: str, last: int, events: Sequence[Event]) -> None:
    """Write events; the last of them gets the number `last`."""
    rows = [
        {
            "ticket": ticket_id,
            "number": number,
            "event": event.model_dump(mode="json", exclude_none=True),
        }
        for number, event in enumerate(events, last - len(events) + 1)
    ]
    if rows:
        connection.execute(_EVENTS, rows)


def refer(connection: Connection, ticket_id: str, entries: Sequence[str]) -> None:
    """Let a ticket keep entries of the cache for as long as it is kept itself."""
    rows = [{"ticket": ticket_id, "entry": entry} for entry in dict.fromkeys(entries)]
    if rows:
        connection.execute(_ENTRIES, rows)


def cancelled() -> dict[str, Any]:
    """The problem document of a cancelled ticket."""
    return _document(Cancelled("The ticket was cancelled.", "Ask again if it is still wanted."))


def poisoned(attempts: int) -> dict[str, Any]:
    """The problem document of a ticket at which every worker has died."""
    from nephra_gateway.problems import WorkLost  # FastAPI, which a migration can do without

    return _document(
        WorkLost(
            f"Who worked on this ticket was lost {attempts} times at the same step.",
            "Look into the gateway's log for why before you ask again.",
            code="ticket_poisoned",
        )
    )


def _document(error: NephraError) -> dict[str, Any]:
    return Problem.of(error).model_dump(mode="json")
