"""How tickets come in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from nephra_contract.errors import Unprocessable
from nephra_gateway.store.clock import now_s
from nephra_gateway.store.endings import refer, told
from nephra_gateway.store.schema import dumps, tickets
from nephra_gateway.store.ticket import COLUMNS, Asked, Ticket, ticket_of

_NEW: dict[str, Any] = {
    "state": "queued",
    "stage": "",
    "fraction": 0.0,
    "steps": {},
    "result": None,
    "problem": None,
    "cached": False,
    "attempts": 0,
    "fence": 0,
    "holder": None,
    "cancelling": False,
    "last_event": 0,
    "started_s": None,
    "ended_s": None,
}

#: Made once, as are others below: to build a statement takes longer than to run it.
_GET = sa.select(*COLUMNS).where(tickets.c.id == sa.bindparam("of_ticket"))
_KEY = [tickets.c.owner, tickets.c.idempotency_key]
_INSERTS = {
    "sqlite": sqlite.insert(tickets)
    .on_conflict_do_nothing(index_elements=_KEY)
    .execution_options(preserve_rowcount=True),
    "postgresql": postgresql.insert(tickets)
    .on_conflict_do_nothing(index_elements=_KEY)
    .execution_options(preserve_rowcount=True),
}


def submit(connection: Connection, asked: Asked) -> tuple[Ticket, bool]:
    """Queue a piece of work.

    Returns:
        The ticket, and whether it is new; else its owner had asked for it with the same key.

    Raises:
        Unprocessable: the key stands for other work (`idempotency_key_reused`).
    """
    earlier = _earlier(connection, asked)
    if earlier is not None:
        return earlier, False
    now = now_s(connection)
    new = {**_members(asked), **_NEW, "created_s": now, "updated_s": now}
    if _insert(connection, new):
        return Ticket(**new), True
    return _first(connection, asked), False


def submit_done(
    connection: Connection, asked: Asked, result: dict[str, Any], entries: Sequence[str]
) -> Ticket:
    """Keep a ticket that the cache has answered already.

    Args:
        connection: in a transaction.
        asked: the work.
        result: its answer.
        entries: what it keeps of the cache.

    Raises:
        Unprocessable: the key stands for other work (`idempotency_key_reused`).
    """
    earlier = _earlier(connection, asked)
    if earlier is not None:
        return earlier
    now = now_s(connection)
    done = {
        "state": "succeeded",
        "fraction": 1.0,
        "result": result,
        "cached": True,
        "last_event": 1,
        "created_s": now,
        "updated_s": now,
        "started_s": now,
        "ended_s": now,
    }
    members = {**_members(asked), **_NEW, **done}
    # Its event is not written: it says what the row says (`listing.events`).
    if not _insert(connection, members):
        return _first(connection, asked)
    refer(connection, asked.id, entries)
    ticket = Ticket(**members)
    told(connection, ticket, now)
    return ticket


def get(connection: Connection, ticket_id: str) -> Ticket | None:
    """A ticket; None where there is none."""
    row = connection.execute(_GET, {"of_ticket": ticket_id}).one_or_none()
    return None if row is None else ticket_of(row)


def _insert(connection: Connection, members: dict[str, Any]) -> bool:
    """Whether the key was free still."""
    return connection.execute(_INSERTS[connection.dialect.name], members).rowcount == 1


def _first(connection: Connection, asked: Asked) -> Ticket:
    """The ticket of another gateway that was first by a moment."""
    earlier = _earlier(connection, asked)
    assert earlier is not None
    return earlier


def _earlier(connection: Connection, asked: Asked) -> Ticket | None:
    """The ticket that the key stands for."""
    if asked.idempotency_key is None:
        return None
    query = sa.select(*COLUMNS).where(
        tickets.c.owner == asked.owner, tickets.c.idempotency_key == asked.idempotency_key
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    ticket = ticket_of(row)
    same = ticket.operation == asked.operation and ticket.request == _stored(asked.request)
    if not same:
        raise Unprocessable(
            "This idempotency key stands for another request.",
            "Use a new key for each new piece of work.",
            code="idempotency_key_reused",
        )
    return ticket


def _members(asked: Asked) -> dict[str, Any]:
    # A ticket is something asked too: only what was asked is taken of it.
    members = {name: getattr(asked, name) for name in Asked.__dataclass_fields__}
    return {**members, "request": dict(asked.request)}


def _stored(request: Mapping[str, Any]) -> Any:
    """A request as the database gives it back."""
    return json.loads(dumps(dict(request)))
