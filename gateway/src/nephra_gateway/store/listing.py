"""How tickets are looked at, and forgotten."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from nephra_contract.errors import RequestInvalid
from nephra_contract.messages import Event
from nephra_gateway.store.clock import now_s
from nephra_gateway.store.schema import QUEUED, RUNNING, ticket_events, tickets
from nephra_gateway.store.ticket import COLUMNS, State, Ticket, ticket_of

_PLACE = sa.tuple_(tickets.c.priority, tickets.c.created_s, tickets.c.id)
_AGE = sa.tuple_(tickets.c.created_s, tickets.c.id)
_VERSIONS = sa.select(tickets.c.id, tickets.c.state, tickets.c.last_event).where(
    tickets.c.id.in_(sa.bindparam("ids", expanding=True))
)


@dataclass(frozen=True)
class Queue:
    """What waits and runs.

    Args:
        queued: how many wait.
        oldest_s: for how long the oldest of them has, in seconds; 0 where none waits.
        running: how many are worked on.
    """

    queued: int
    oldest_s: float
    running: int


def versions(connection: Connection, ids: Iterable[str]) -> dict[str, tuple[State, int]]:
    """State and number of the last event of tickets; those that are gone are left out."""
    found = connection.execute(_VERSIONS, {"ids": list(ids)})
    return {row.id: (row.state, row.last_event) for row in found}


def page(
    connection: Connection,
    *,
    owner: str | None,
    states: Collection[State] = (),
    operation: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[Ticket], str | None]:
    """Tickets, the newest first.

    Args:
        connection: in a transaction.
        owner: whose; None: everybody's.
        states: only those in one of these; none: in any.
        operation: only those of this one.
        limit: how many at most.
        cursor: of the page before.

    Returns:
        The tickets, and the cursor of the next page, if there is one.

    Raises:
        RequestInvalid: the cursor is none of ours.
    """
    query = sa.select(*COLUMNS).order_by(tickets.c.created_s.desc(), tickets.c.id.desc())
    if owner is not None:
        query = query.where(tickets.c.owner == owner)
    if states:
        query = query.where(tickets.c.state.in_(sorted(states)))
    if operation is not None:
        query = query.where(tickets.c.operation == operation)
    if cursor is not None:
        query = query.where(sa.tuple_(*_read(cursor)) > _AGE)
    found = [ticket_of(row) for row in connection.execute(query.limit(limit + 1))]
    more = len(found) > limit
    return found[:limit], _cursor(found[limit - 1]) if more else None


def position(connection: Connection, ticket: Ticket) -> int | None:
    """How many queued tickets come before one; None if it is not queued."""
    if ticket.state != "queued":
        return None
    place = sa.tuple_(*map(sa.literal, (ticket.priority, ticket.created_s, ticket.id)))
    query = sa.select(sa.func.count()).select_from(tickets)
    return connection.execute(query.where(tickets.c.state == QUEUED, place > _PLACE)).scalar_one()


def positions(connection: Connection, ids: Iterable[str]) -> dict[str, int]:
    """How many queued tickets come before each of several; those not queued are left out."""
    place = sa.func.row_number().over(order_by=list(_PLACE.clauses)) - 1
    queue = (
        sa.select(tickets.c.id, place.label("place")).where(tickets.c.state == QUEUED).subquery()
    )
    found = connection.execute(sa.select(queue).where(queue.c.id.in_(list(ids))))
    return {row.id: row.place for row in found}


def events(
    connection: Connection, ticket_id: str, after: int = 0, limit: int = 500
) -> list[tuple[int, Event]]:
    """What has happened to a ticket after an event, with the events' numbers."""
    query = (
        sa.select(ticket_events.c.number, ticket_events.c.event)
        .where(ticket_events.c.ticket == ticket_id, ticket_events.c.number > after)
        .order_by(ticket_events.c.number)
        .limit(limit)
    )
    found = connection.execute(query)
    said = [(row.number, Event.model_validate(row.event)) for row in found]
    return said or _answered_at_once(connection, ticket_id, after)


def _answered_at_once(
    connection: Connection, ticket_id: str, after: int
) -> list[tuple[int, Event]]:
    """The one event of a ticket that the cache has answered, which only its row tells."""
    query = sa.select(tickets.c.result).where(
        tickets.c.id == ticket_id, tickets.c.fence == 0, tickets.c.state == "succeeded"
    )
    result = connection.execute(query).scalar_one_or_none()
    return [] if result is None or after > 0 else [(1, Event(event="result", result=result))]


def expire(connection: Connection, older_than_s: float, limit: int) -> list[str]:
    """Forget tickets that ended long ago: rows, events, references.

    Args:
        connection: in a transaction that writes.
        older_than_s: those that ended before this many seconds.
        limit: how many at most.

    Returns:
        Their ids.
    """
    old = (
        sa.select(tickets.c.id)
        .where(tickets.c.ended_s < now_s(connection) - older_than_s)
        .order_by(tickets.c.ended_s)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.execute(old).scalars())
    if ids:
        connection.execute(tickets.delete().where(tickets.c.id.in_(ids)))
    return ids


def queue(connection: Connection) -> Queue:
    """Figures of all tickets that wait or run."""
    waiting = sa.select(sa.func.count(), sa.func.min(tickets.c.created_s))
    count, oldest = connection.execute(waiting.where(tickets.c.state == QUEUED)).one()
    running = sa.select(sa.func.count()).where(tickets.c.state == RUNNING)
    age = 0.0 if oldest is None else max(0.0, now_s(connection) - oldest)
    return Queue(count, age, connection.execute(running).scalar_one())


def _cursor(ticket: Ticket) -> str:
    return base64.urlsafe_b64encode(json.dumps([ticket.created_s, ticket.id]).encode()).decode()


def _read(cursor: str) -> tuple[sa.BindParameter[float], sa.BindParameter[str]]:
    try:
        created_s, ticket_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not (isinstance(ticket_id, str) and math.isfinite(created_s)):
            raise ValueError
        return sa.literal(float(created_s)), sa.literal(ticket_id)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RequestInvalid(
            "The cursor of the page is not one that this gateway gave.",
            "Take it from `next` of the page before, or leave it out.",
        ) from error
