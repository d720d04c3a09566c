"""How workers have tickets: each claim has a fence, and only who has the last one can write.

A lease that has passed is still its holder's until somebody else claims the ticket: after the
database was away, running work goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from nephra_contract.messages import Event
from nephra_gateway.store.clock import lapsed_s, now_s
from nephra_gateway.store.endings import (
    Ended,
    append,
    cancelled,
    end_by,
    poisoned,
    refer,
    settled,
    told,
)
from nephra_gateway.store.schema import QUEUED, RUNNING, tickets
from nephra_gateway.store.ticket import COLUMNS, Lease, LeaseLost, Ticket, ticket_of

Beat = Literal["held", "cancelling", "lost"]

_ORDER = (tickets.c.priority, tickets.c.created_s, tickets.c.id)


def claim(
    connection: Connection, holder: str, lease_s: float, limit: int, max_attempts: int = 3
) -> list[tuple[Lease, Ticket]]:
    """Take tickets to work on, the most urgent first, then the oldest.

    Those whose lease has passed are taken too. If one was claimed `max_attempts` times since it
    last came further it ends as `ticket_poisoned`; if it is being cancelled it ends as that.

    Args:
        connection: in a transaction that writes.
        holder: who claims.
        lease_s: until it has to beat.
        limit: how many at most.
        max_attempts: at the same step.
    """
    before_s = lapsed_s(connection, lease_s)
    lapsed = _first(
        connection, limit, tickets.c.state == RUNNING, tickets.c.lease_until_s < before_s
    )
    rows = [row for row in lapsed if not _ended(connection, row, max_attempts)]
    rows += _first(connection, limit, tickets.c.state == QUEUED)
    rows.sort(key=lambda row: tuple(row)[:3])
    return _take(connection, [row.id for row in rows[:limit]], holder, lease_s)


def beat(connection: Connection, leases: Iterable[Lease], lease_s: float) -> dict[str, Beat]:
    """Prolong leases.

    Returns:
        For each ticket: it is `held`; it is, but `cancelling`: stop; or it is `lost`.
    """
    wanted = list(leases)
    if not wanted:
        return {}
    key = sa.tuple_(tickets.c.id, tickets.c.holder, tickets.c.fence)
    change = (
        tickets.update()
        .where(
            key.in_([(lease.ticket, lease.holder, lease.fence) for lease in wanted]),
            tickets.c.state == RUNNING,
        )
        .values(lease_until_s=now_s(connection) + lease_s)
        .returning(tickets.c.id, tickets.c.cancelling)
    )
    found = {row.id: row.cancelling for row in connection.execute(change)}
    states: dict[bool | None, Beat] = {None: "lost", True: "cancelling", False: "held"}
    return {lease.ticket: states[found.get(lease.ticket)] for lease in wanted}


def record(
    connection: Connection,
    lease: Lease,
    events: Sequence[Event],
    *,
    stage: str | None = None,
    fraction: float | None = None,
    steps: dict[str, dict[str, Any]] | None = None,
    progressed: bool = False,
) -> int:
    """Write down what has happened.

    Args:
        connection: in a transaction that writes.
        lease: of who writes.
        events: for whoever watches.
        stage: what is being done now.
        fraction: the part (0..1) that is done.
        steps: what each step has come to.
        progressed: a step has finished; attempts are counted anew.

    Returns:
        The number of the last event.

    Raises:
        LeaseLost: the ticket is not the writer's any more; nothing is written.
    """
    given = {"stage": stage, "fraction": fraction, "steps": steps}
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if progressed:
        values["attempts"] = 0
    ticket = _change(connection, lease, len(events), **values, updated_s=now_s(connection))
    append(connection, lease.ticket, ticket.last_event, events)
    return ticket.last_event


def finish(
    connection: Connection,
    lease: Lease,
    state: Ended,
    *,
    result: dict[str, Any] | None = None,
    problem: dict[str, Any] | None = None,
    cached: bool = False,
    entries: Sequence[str] = (),
    events: Sequence[Event] = (),
) -> None:
    """End a ticket.

    Args:
        connection: in a transaction that writes.
        lease: of who ends it.
        state: how.
        result: its answer.
        problem: why there is none.
        cached: all of the answer was there before.
        entries: what it keeps of the cache.
        events: the last ones.

    Raises:
        LeaseLost: the ticket is not the writer's any more; nothing is written.
    """
    now = now_s(connection)
    values: dict[str, Any] = {"result": result, "problem": problem, "cached": cached}
    if state == "succeeded":
        values["fraction"] = 1.0
    ticket = _change(connection, lease, len(events), state=state, **values, **settled(now))
    append(connection, lease.ticket, ticket.last_event, events)
    refer(connection, lease.ticket, entries)
    told(connection, ticket, now)


def give_back(connection: Connection, lease: Lease) -> None:
    """Queue a ticket again, which does not count as an attempt; a cancelled one ends.

    Raises:
        LeaseLost: the ticket is not the writer's any more; nothing is written.
    """
    once_less = sa.case((tickets.c.attempts > 0, tickets.c.attempts - 1), else_=0)
    ticket = _change(
        connection,
        lease,
        0,
        state="queued",
        attempts=once_less,
        holder=None,
        lease_until_s=None,
        updated_s=now_s(connection),
    )
    if ticket.cancelling:
        end_by(connection, lease.ticket, "cancelled", cancelled())


def _first(connection: Connection, limit: int, *where: sa.ColumnElement[bool]) -> list[Row[Any]]:
    """The first tickets of those that no other claim is at, locked."""
    query = (
        sa.select(*_ORDER, tickets.c.attempts, tickets.c.cancelling)
        .where(*where)
        .order_by(*_ORDER)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(connection.execute(query))


def _ended(connection: Connection, row: Row[Any], max_attempts: int) -> bool:
    """Whether nobody shall work on a ticket whose worker is gone; then it has ended."""
    if row.cancelling:
        end_by(connection, row.id, "cancelled", cancelled())
    elif row.attempts >= max_attempts:
        end_by(connection, row.id, "failed", poisoned(row.attempts))
    else:
        return False
    return True


def _take(
    connection: Connection, ids: Sequence[str], holder: str, lease_s: float
) -> list[tuple[Lease, Ticket]]:
    if not ids:
        return []
    now = now_s(connection)
    change = (
        tickets.update()
        .where(tickets.c.id.in_(ids))
        .values(
            state="running",
            holder=holder,
            fence=tickets.c.fence + 1,
            attempts=tickets.c.attempts + 1,
            lease_until_s=now + lease_s,
            started_s=sa.func.coalesce(tickets.c.started_s, now),
            updated_s=now,
        )
        .returning(*COLUMNS)
    )
    taken = {ticket.id: ticket for ticket in map(ticket_of, connection.execute(change))}
    return [(Lease(i, holder, taken[i].fence), taken[i]) for i in ids]


def _change(connection: Connection, lease: Lease, events: int, **values: Any) -> Ticket:
    """Change a ticket, if the lease is the last that was given of it."""
    change = (
        tickets.update()
        .where(
            tickets.c.id == lease.ticket,
            tickets.c.holder == lease.holder,
            tickets.c.fence == lease.fence,
            tickets.c.state == RUNNING,
        )
        .values(last_event=tickets.c.last_event + events, **values)
        .returning(*COLUMNS)
    )
    row = connection.execute(change).one_or_none()
    if row is None:
        raise LeaseLost(lease.ticket)
    return ticket_of(row)
