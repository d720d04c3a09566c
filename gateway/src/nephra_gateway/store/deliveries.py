"""Who is to be told that a ticket has ended, and when it is tried next.

A delivery that is being tried is one that is due a little later: if whoever tries it dies, it is
tried again. Every function takes a connection that is in a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from nephra_gateway.store.clock import now_s
from nephra_gateway.store.schema import METADATA, Json, Words
from nephra_gateway.store.ticket import Ticket

deliveries = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("ticket", Words, primary_key=True),
    sa.Column("url", Words, nullable=False),
    sa.Column("message", Json(), nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("due_s", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
)
sa.Index("deliveries_due", deliveries.c.due_s)

#: What outlives the ticket's own row.
_COLUMNS = (
    deliveries.c.ticket,
    deliveries.c.url,
    deliveries.c.message,
    deliveries.c.created_s,
    deliveries.c.attempts,
)


@dataclass(frozen=True)
class Delivery:
    """One message to one address.

    Args:
        ticket: that it tells of.
        url: where to.
        message: what.
        created_s: when the ticket ended, in seconds since 1970.
        attempts: how often it was tried, this time included.
    """

    ticket: str
    url: str
    message: Mapping[str, Any]
    created_s: float
    attempts: int


def enqueue(connection: Connection, ticket: Ticket, now: float) -> None:
    """Let somebody be told, if the ticket's owner has asked for that.

    Args:
        connection: in the transaction that ends the ticket.
        ticket: as it has ended.
        now: seconds since 1970, of the database's clock.
    """
    if ticket.callback_url is None:
        return
    connection.execute(
        deliveries.insert().values(
            ticket=ticket.id,
            url=ticket.callback_url,
            message=message_of(ticket, now),
            created_s=now,
            due_s=now,
            attempts=0,
        )
    )


def message_of(ticket: Ticket, ended_s: float) -> dict[str, Any]:
    """What is told: how it ended, and nothing of the patient; the rest is asked for."""
    problem = ticket.problem or {}
    found = {
        "ticket": ticket.id,
        "operation": ticket.operation,
        "state": ticket.state,
        "cached": ticket.cached,
        "created": _iso(ticket.created_s),
        "ended": _iso(ended_s),
        "problem": {k: problem.get(k) for k in ("status", "code")} if problem else None,
    }
    return {"type": f"ticket.{ticket.state}", "timestamp": _iso(ended_s), "data": found}


def due(connection: Connection) -> bool:
    """Whether there is anything to deliver now."""
    query = sa.select(sa.literal(1)).where(deliveries.c.due_s <= now_s(connection)).limit(1)
    return connection.execute(query).first() is not None


def claim(connection: Connection, lease_s: float, limit: int) -> list[Delivery]:
    """Take deliveries that are due, the ones first that are so the longest.

    Args:
        connection: in a transaction that writes.
        lease_s: longer than an attempt takes.
        limit: how many at most.
    """
    now = now_s(connection)
    chosen = (
        sa.select(deliveries.c.ticket)
        .where(deliveries.c.due_s <= now)
        .order_by(deliveries.c.due_s)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    names = list(connection.execute(chosen).scalars())
    if not names:
        return []
    change = (
        deliveries.update()
        .where(deliveries.c.ticket.in_(names))
        .values(due_s=now + lease_s, attempts=deliveries.c.attempts + 1)
        .returning(*_COLUMNS)
    )
    return [Delivery(*row) for row in connection.execute(change)]


def put_off(connection: Connection, delivery: Delivery, pause_s: float) -> None:
    """Try it again later, unless somebody else has tried since."""
    connection.execute(
        deliveries.update().where(_same(delivery)).values(due_s=now_s(connection) + pause_s)
    )


def forget(connection: Connection, delivery: Delivery) -> None:
    """It has arrived, or is given up."""
    connection.execute(deliveries.delete().where(deliveries.c.ticket == delivery.ticket))


def age_s(connection: Connection, delivery: Delivery) -> float:
    """Seconds since the ticket ended."""
    return now_s(connection) - delivery.created_s


def _same(delivery: Delivery) -> sa.ColumnElement[bool]:
    return sa.and_(
        deliveries.c.ticket == delivery.ticket, deliveries.c.attempts == delivery.attempts
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
