"""How workers have tickets: each claim has a fence, and only who has the last one can write.

A lease that has passed is still its holder's until somebody else claims the ticket: after the
database was away, running work goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

#: The first tickets of those that no other claim is at, locked.
_FIRST = (
    sa.select(*_ORDER, tickets.c.attempts, tickets.c.cancelling)
    .order_by(*_ORDER)
    .limit(sa.bindparam("first"))
    .with_for_update(skip_locked=True)
)
_WAITING = _FIRST.where(tickets.c.state == QUEUED)
_LAPSED = _FIRST.where(
    tickets.c.state == RUNNING, tickets.c.lease_until_s < sa.bindparam("before_s")
)
_TAKE = (
    tickets.update()
    .where(tickets.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(
        state="running",
        fence=tickets.c.fence + 1,
        attempts=tickets.c.attempts + 1,
        started_s=sa.func.coalesce(tickets.c.started_s, sa.bindparam("now_s")),
    )
    .returning(*COLUMNS)
)

#: A change of a ticket by who has the last lease that was given of it.
_CHANGE = (
    tickets.update()
    .where(
        tickets.c.id == sa.bindparam("of_ticket"),
        tickets.c.holder == sa.bindparam("of_holder"),
        tickets.c.fence == sa.bindparam("of_fence"),
        tickets.c.state == RUNNING,
    )
    .values(last_event=tickets.c.last_event + sa.bindparam("events"))
)
_RECORD = _CHANGE.returning(tickets.c.last_event)
_FINISH = _CHANGE.returning(*COLUMNS)
_GIVE_BACK = _CHANGE.values(
    attempts=sa.case((tickets.c.attempts > 0, tickets.c.attempts - 1), else_=0)
).returning(tickets.c.cancelling)


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
    lapsed = connection.execute(_LAPSED, {"first": limit, "before_s": before_s}).all()
    rows = [row for row in lapsed if not _ended(connection, row, max_attempts)]
    rows += connection.execute(_WAITING, {"first": limit}).all()
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
    values["updated_s"] = now_s(connection)
    last: int = _change(connection, _RECORD, lease, len(events), values).last_event
    append(connection, lease.ticket, last, events)
    return last


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
    values: dict[str, Any] = {
        "state": state,
        "result": result,
        "problem": problem,
        "cached": cached,
    }
    if state == "succeeded":
        values["fraction"] = 1.0
    row = _change(connection, _FINISH, lease, len(events), {**values, **settled(now)})
    ticket = ticket_of(row)
    append(connection, lease.ticket, ticket.last_event, events)
    refer(connection, lease.ticket, entries)
    told(connection, ticket, now)


def give_back(connection: Connection, lease: Lease) -> None:
    """Queue a ticket again, which does not count as an attempt; a cancelled one ends.

    Raises:
        LeaseLost: the ticket is not the writer's any more; nothing is written.
    """
    values = {
        "state": "queued",
        "holder": None,
        "lease_until_s": None,
        "updated_s": now_s(connection),
    }
    if _change(connection, _GIVE_BACK, lease, 0, values).cancelling:
        end_by(connection, lease.ticket, "cancelled", cancelled())


def _ended(connection: Connection, row: Row[*tuple[Any, ...]], max_attempts: int) -> bool:
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
    values = {"holder": holder, "lease_until_s": now + lease_s, "updated_s": now}
    found = connection.execute(_TAKE, {"ids": ids, "now_s": now, **values})
    taken = {ticket.id: ticket for ticket in map(ticket_of, found)}
    return [(Lease(i, holder, taken[i].fence), taken[i]) for i in ids]


def _change(
    connection: Connection,
    change: sa.sql.dml.ReturningUpdate[Any],
    lease: Lease,
    events: int,
    values: Mapping[str, Any],
) -> Row[Any]:
    of = {"of_ticket": lease.ticket, "of_holder": lease.holder, "of_fence": lease.fence}
    row = connection.execute(change, {**of, "events": events, **values}).one_or_none()
    if row is None:
        raise LeaseLost(lease.ticket)
    return row
