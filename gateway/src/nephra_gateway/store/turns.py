"""Turns at predictors: a semaphore for each, over all processes.

Who waits asks again and again, which is its beat; who is silent for a lease has left. So a turn
that nobody gives back ends by itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from nephra_gateway.store.clock import moment, now_s
from nephra_gateway.store.schema import turns

_PREDICTOR = turns.c.predictor == sa.bindparam("of_predictor")
_ROWS = sa.select(
    turns.c.priority,
    turns.c.created_s,
    turns.c.ticket,
    turns.c.step,
    turns.c.holder,
    turns.c.granted,
    turns.c.lease_until_s,
).where(_PREDICTOR)
_LAPSE = turns.delete().where(_PREDICTOR, turns.c.lease_until_s < sa.bindparam("before_s"))


def _upsert(new: sqlite.Insert | postgresql.Insert) -> sqlite.Insert | postgresql.Insert:
    return new.on_conflict_do_update(
        index_elements=list(turns.primary_key),
        set_={"granted": new.excluded.granted, "lease_until_s": new.excluded.lease_until_s},
    )


_STAND = {
    "sqlite": _upsert(sqlite.insert(turns)),
    "postgresql": _upsert(postgresql.insert(turns)),
}


@dataclass(frozen=True)
class Waiting:
    """What waits for one predictor.

    Args:
        waiting: how many requests wait.
        oldest_s: for how long the oldest of them has, in seconds; 0 where none waits.
        held: how many it was given.
    """

    waiting: int
    oldest_s: float
    held: int


def take(
    connection: Connection,
    predictor: str,
    ticket: str,
    step: str,
    holder: str,
    rank: tuple[int, float],
    lease_s: float,
    limit: int,
) -> int | None:
    """Ask for a turn, or ask again.

    Args:
        connection: in a transaction that writes.
        predictor: whose turn.
        ticket: what it is for.
        step: of the ticket.
        holder: who asks.
        rank: the ticket's priority, and when it was created; the smallest comes first.
        lease_s: until the holder has to ask again, or to beat.
        limit: how many turns there are.

    Returns:
        None: it is granted. Else how many come before, those that have a turn among them.
    """
    _exclude(connection, predictor)
    now, before_s = moment(connection, lease_s)
    rows = connection.execute(_ROWS, {"of_predictor": predictor}).all()
    alive = [row for row in rows if row.lease_until_s >= before_s]
    if len(alive) < len(rows):
        connection.execute(_LAPSE, {"of_predictor": predictor, "before_s": before_s})
    place = (*rank, ticket, step, holder)
    mine = next((row for row in alive if row[2:5] == place[2:]), None)
    before = sum(row.granted or row[:5] < place for row in alive)
    granted = before < limit or (mine is not None and mine.granted)
    if mine is None or granted != mine.granted or mine.lease_until_s < now + lease_s / 2:
        _stand(connection, (predictor, *place), granted, now, lease_s)
    return None if granted else before


def beat(connection: Connection, holder: str, lease_s: float) -> set[tuple[str, str]]:
    """Prolong all turns that a holder has.

    Returns:
        Ticket and step of each that it has still.
    """
    change = (
        turns.update()
        .where(turns.c.holder == holder, turns.c.granted)
        .values(lease_until_s=now_s(connection) + lease_s)
        .returning(turns.c.ticket, turns.c.step)
    )
    return {(row.ticket, row.step) for row in connection.execute(change)}


def give(connection: Connection, predictor: str, ticket: str, step: str, holder: str) -> None:
    """Give a turn back, or wait for it no longer."""
    connection.execute(turns.delete().where(*_own(predictor, ticket, step, holder)))


def figures(connection: Connection) -> dict[str, Waiting]:
    """What waits for each predictor that somebody waits for, or has."""
    now = now_s(connection)
    waits = sa.case((turns.c.granted, 0), else_=1)
    since = sa.case((turns.c.granted, None), else_=turns.c.since_s)
    query = (
        sa.select(turns.c.predictor, sa.func.sum(waits), sa.func.min(since), sa.func.count())
        .where(turns.c.lease_until_s >= now)
        .group_by(turns.c.predictor)
    )
    return {
        predictor: Waiting(waiting, max(0.0, now - (oldest or now)), count - waiting)
        for predictor, waiting, oldest, count in connection.execute(query)
    }


def _exclude(connection: Connection, predictor: str) -> None:
    """Let nobody else count this predictor's turns; SQLite's transactions do so by themselves."""
    if connection.dialect.name == "postgresql":
        digest = hashlib.sha256(f"turns at {predictor}".encode()).digest()
        number = int.from_bytes(digest[:8], signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def _stand(
    connection: Connection,
    place: tuple[str, int, float, str, str, str],
    granted: bool,
    now: float,
    lease_s: float,
) -> None:
    """Stand in the row, or go on standing there, or leave it for a turn."""
    predictor, priority, created_s, ticket, step, holder = place
    row = {
        "predictor": predictor,
        "ticket": ticket,
        "step": step,
        "holder": holder,
        "priority": priority,
        "created_s": created_s,
        "since_s": now,
        "granted": granted,
        "lease_until_s": now + lease_s,
    }
    connection.execute(_STAND[connection.dialect.name], row)


def _own(predictor: str, ticket: str, step: str, holder: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        turns.c.predictor == predictor,
        turns.c.ticket == ticket,
        turns.c.step == step,
        turns.c.holder == holder,
    )
