"""What goes out of the cache, and when: marked first, then its files, then its row.

Every function takes a connection that is in a transaction that writes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from nephra_gateway.store.cache_schema import (
    cache_clearings,
    cache_entries,
    cache_holds,
    cache_parts,
)
from nephra_gateway.store.clock import now_s
from nephra_gateway.store.entries import doom, insert
from nephra_gateway.store.schema import ticket_entries, tickets
from nephra_gateway.store.tickets import expire

#: Tickets in these have nothing that they could name.
_VOID = ("failed", "cancelled")

#: Databases take only so many parameters in one statement.
_AT_ONCE = 500


@dataclass(frozen=True)
class Going:
    """An entry whose files have to go.

    Args:
        id: its own.
        ticket: in whose folder they lie.
        folder: that holds them and nothing else; None where there is none, or another entry has
            the same.
        files: its own, outside of such a folder.
    """

    id: str
    ticket: str
    folder: str | None
    files: tuple[str, ...]


def doom_unused(connection: Connection, unused_s: float, limit: int) -> int:
    """Doom what was not used for long, if no kept ticket names it; gives how many."""
    query = (
        sa.select(cache_entries.c.id)
        .where(
            cache_entries.c.state == "whole",
            cache_entries.c.used_s < now_s(connection) - unused_s,
            ~_kept(),
        )
        .order_by(cache_entries.c.used_s)
        .limit(limit)
    )
    return _doom(connection, list(connection.execute(query).scalars()))


def doom_over(connection: Connection, max_bytes: int) -> int:
    """Doom the least recently used of what no kept ticket names, down to a size."""
    query = (
        sa.select(cache_entries.c.id, cache_entries.c.bytes)
        .where(cache_entries.c.state == "whole", ~_kept())
        .order_by(cache_entries.c.used_s.desc(), cache_entries.c.id)
    )
    ids, size = [], 0
    for row in connection.execute(query):
        size += row.bytes
        if size > max_bytes:
            ids.append(row.id)
    return _doom(connection, ids)


def take_doomed(connection: Connection, limit: int) -> list[Going]:
    """Doomed entries that no kept ticket names; what was taken before and is not gone as well.

    Nothing can come to name them any more: only what is whole can be found.
    """
    which = (
        sa.select(cache_entries.c.id)
        .where(cache_entries.c.state == "doomed", ~_kept())
        .order_by(cache_entries.c.doomed_s)
        .limit(limit)
    )
    ids = list(connection.execute(which).scalars())
    if ids:
        change = cache_entries.update().where(cache_entries.c.id.in_(ids))
        connection.execute(change.values(state="going"))
    same = cache_entries.alias()
    shared = sa.exists().where(
        same.c.folder == cache_entries.c.folder, same.c.id != cache_entries.c.id
    )
    columns = (cache_entries.c.id, cache_entries.c.ticket, cache_entries.c.folder)
    query = sa.select(*columns, cache_entries.c.files, shared.label("shared"))
    rows = connection.execute(query.where(cache_entries.c.state == "going").limit(limit))
    return [
        Going(
            row.id,
            row.ticket,
            None if row.shared else row.folder,
            _own(row.ticket, row.files) if row.folder is None else (),
        )
        for row in rows
    ]


def forget(connection: Connection, entries: Collection[str]) -> None:
    """Delete the rows of entries whose files are gone."""
    which = cache_entries.c.id.in_(list(entries))
    connection.execute(cache_entries.delete().where(which, cache_entries.c.state == "going"))


def expire_tickets(connection: Connection, older_than_s: float, limit: int) -> int:
    """Forget tickets that ended long ago; their folders are remembered until they are gone."""
    ids = expire(connection, older_than_s, limit)
    if ids:
        new = insert(connection, cache_clearings).on_conflict_do_nothing()
        connection.execute(new, [{"ticket": ticket} for ticket in ids])
    return len(ids)


def clearings(connection: Connection) -> list[str]:
    """Forgotten tickets whose folders may still be there."""
    return list(connection.execute(sa.select(cache_clearings.c.ticket)).scalars())


def void(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Those tickets that have ended with nothing to name."""
    query = sa.select(tickets.c.id).where(tickets.c.id.in_(ids), tickets.c.state.in_(_VOID))
    return list(connection.execute(query).scalars())


def lying_in(connection: Connection, ticket: str) -> set[str]:
    """Folders and files below a ticket's folder that belong to entries."""
    query = sa.select(cache_entries.c.folder, cache_entries.c.files)
    found: set[str] = set()
    for row in connection.execute(query.where(cache_entries.c.ticket == ticket)):
        found |= set(_own(ticket, row.files)) if row.folder is None else {row.folder}
    return found


def cleared(connection: Connection, ids: Collection[str]) -> None:
    """Forget tickets' folders, which are gone."""
    connection.execute(cache_clearings.delete().where(cache_clearings.c.ticket.in_(list(ids))))


def _own(ticket: str, files: Collection[str]) -> tuple[str, ...]:
    """Of an entry's files those that lie in its ticket's folder itself, and in no step's."""
    return tuple(path for path in files if path.rpartition("/")[0].endswith(f"/{ticket}"))


def _doom(connection: Connection, ids: list[str]) -> int:
    for first in range(0, len(ids), _AT_ONCE):
        doom(connection, ids[first : first + _AT_ONCE])
    return len(ids)


def _kept() -> sa.ColumnElement[bool]:
    """Whether a ticket names an entry, or one that is made of it."""
    found: list[sa.ColumnElement[bool]] = []
    for names in (ticket_entries, cache_holds):
        of = names.join(tickets, tickets.c.id == names.c.ticket)
        alive = tickets.c.state.not_in(_VOID)
        itself = sa.select(1).select_from(of).where(names.c.entry == cache_entries.c.id, alive)
        through = (
            sa.select(1)
            .select_from(of.join(cache_parts, cache_parts.c.entry == names.c.entry))
            .where(cache_parts.c.part == cache_entries.c.id, alive)
        )
        found += [itself.exists(), through.exists()]
    return sa.or_(*found)
