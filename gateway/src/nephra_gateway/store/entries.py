"""The prediction cache's entries. Every function takes a connection that is in a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from nephra_gateway.store.cache_schema import (
    cache_entries,
    cache_figures,
    cache_holds,
    cache_parts,
)
from nephra_gateway.store.clock import now_s


@dataclass(frozen=True)
class Result:
    """Something made, to be kept as an entry.

    Args:
        id: of the entry.
        key: that it is found by.
        operation: that has made it.
        ticket: in whose folder it lies.
        folder: that holds its files and nothing else; None where there is no such folder.
        bytes: of its own files.
        seconds: that it took to make.
        files: every file that it answers with, path → SHA-256; its parts' too.
        answer: what the operation has answered, with the paths of those files.
        parts: entries that it is made of.
    """

    id: str
    key: str
    operation: str
    ticket: str
    folder: str | None
    bytes: int
    seconds: float
    files: Mapping[str, str]
    answer: Mapping[str, Any]
    parts: Sequence[str] = ()


@dataclass(frozen=True)
class Entry:
    """A result that can be found again.

    Args:
        id: its own.
        key: that it is found by.
        seconds: that it took to make.
        created_s: when it was, in seconds since 1970.
        files: path → SHA-256.
        answer: as its operation has given it.
    """

    id: str
    key: str
    seconds: float
    created_s: float
    files: Mapping[str, str]
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class Held:
    """What the cache holds: entries, and the bytes of their files."""

    entries: int
    bytes: int


_COLUMNS = tuple(cache_entries.c[n] for n in Entry.__dataclass_fields__)
_BY_KEY = sa.select(*_COLUMNS).where(cache_entries.c.key.in_(sa.bindparam("keys", expanding=True)))
_LATEST = sa.select(*_COLUMNS).where(cache_entries.c.key == sa.bindparam("key"))


def find(connection: Connection, key: str) -> Entry | None:
    """The entry of a key."""
    row = connection.execute(_LATEST, {"key": key}).mappings().one_or_none()
    return None if row is None else Entry(**row)


def find_all(
    connection: Connection, keys: Collection[str], after_s: float = float("-inf")
) -> dict[str, Entry]:
    """The entries of some keys, those that were made after a moment alone."""
    if not keys:
        return {}
    rows = connection.execute(_BY_KEY, {"keys": list(keys)}).mappings()
    return {row["key"]: Entry(**row) for row in rows if row["created_s"] >= after_s}


def put(connection: Connection, result: Result) -> bool:
    """Keep a result; an older one of its key is doomed. Its own ticket holds it.

    Returns:
        Whether it is kept: not if something that it is made of cannot be found any more.
    """
    if not whole(connection, result.parts):
        return False
    doom_key(connection, result.key)
    now = now_s(connection)
    connection.execute(
        cache_entries.insert().values(
            id=result.id,
            key=result.key,
            state="whole",
            operation=result.operation,
            ticket=result.ticket,
            folder=result.folder,
            bytes=result.bytes,
            seconds=result.seconds,
            created_s=now,
            used_s=now,
            hits=0,
            files=dict(result.files),
            answer=dict(result.answer),
        )
    )
    rows = [{"entry": result.id, "part": part} for part in dict.fromkeys(result.parts)]
    if rows:
        connection.execute(cache_parts.insert(), rows)
    _hold(connection, result.ticket, [result.id])
    return True


def doom(connection: Connection, entries: Iterable[str]) -> None:
    """Let entries, and those that are made of them, not be found any more."""
    ids = list(entries)
    if ids:
        made_of = sa.select(cache_parts.c.entry).where(cache_parts.c.part.in_(ids))
        _doom(connection, sa.or_(cache_entries.c.id.in_(ids), cache_entries.c.id.in_(made_of)))


def doom_file(connection: Connection, entry: str, path: str) -> None:
    """Let an entry with a damaged file, and its part whose file it is, not be found any more."""
    parts = (
        sa.select(cache_entries.c.id, cache_entries.c.files)
        .join(cache_parts, cache_parts.c.part == cache_entries.c.id)
        .where(cache_parts.c.entry == entry)
    )
    doom(connection, [entry, *(row.id for row in connection.execute(parts) if path in row.files)])


def doom_key(connection: Connection, key: str) -> None:
    """Let the entry of a key not be found any more."""
    _doom(connection, cache_entries.c.key == key)


def whole(connection: Connection, entries: Collection[str]) -> bool:
    """Whether entries can all still be found; they stay so until the transaction ends.

    Who answers from the cache asks this in the transaction that writes down which ticket names
    them: between the look and the answer they may have been doomed.
    """
    if not entries:
        return True
    query = (
        sa.select(cache_entries.c.id)
        .where(cache_entries.c.id.in_(list(entries)), cache_entries.c.state == "whole")
        .with_for_update(read=True)
    )
    return len(connection.execute(query).all()) == len(set(entries))


def hold(connection: Connection, ticket: str, entries: Collection[str]) -> bool:
    """Keep entries for a ticket that runs; False, and nothing done, if one cannot be found."""
    if not whole(connection, entries):
        return False
    _hold(connection, ticket, entries)
    return True


def files_of(connection: Connection, entries: Collection[str]) -> dict[str, str]:
    """All files that entries answer with, path → SHA-256."""
    query = sa.select(cache_entries.c.files).where(cache_entries.c.id.in_(list(entries)))
    found: dict[str, str] = {}
    for files in connection.execute(query).scalars():
        found |= files
    return found


def touch(connection: Connection, hits: Mapping[str, int]) -> None:
    """Write down that entries were used, and how often; what they are made of is used too.

    Args:
        connection: in a transaction that writes.
        hits: by entry, since this was last written.
    """
    now = now_s(connection)
    used = cache_entries.update().values(used_s=now)
    made_of = sa.select(cache_parts.c.part).where(cache_parts.c.entry.in_(list(hits)))
    connection.execute(used.where(cache_entries.c.id.in_(made_of)))
    for entry, count in sorted(hits.items()):
        change = used.where(cache_entries.c.id == entry)
        connection.execute(change.values(hits=cache_entries.c.hits + count))


def held(connection: Connection) -> Held:
    """What can be found."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(cache_entries.c.bytes), 0))
    count, size = connection.execute(query.where(cache_entries.c.state == "whole")).one()
    return Held(int(count), int(size))


def count(connection: Connection, figures: Mapping[str, float]) -> None:
    """Add to figures that are kept over all processes and all time."""
    for name, value in sorted(figures.items()):
        new = insert(connection, cache_figures).values(name=name, value=value)
        more = new.on_conflict_do_update(
            index_elements=[cache_figures.c.name],
            set_={"value": cache_figures.c.value + new.excluded.value},
        )
        connection.execute(more)


def counted(connection: Connection) -> dict[str, float]:
    """Those figures."""
    rows = connection.execute(sa.select(cache_figures.c.name, cache_figures.c.value))
    return {row.name: row.value for row in rows}


def insert(connection: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say what to do where the row is there."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _hold(connection: Connection, ticket: str, entries: Iterable[str]) -> None:
    rows = [{"ticket": ticket, "entry": entry} for entry in sorted(set(entries))]
    if rows:
        connection.execute(insert(connection, cache_holds).on_conflict_do_nothing(), rows)


def _doom(connection: Connection, which: sa.ColumnElement[bool]) -> None:
    change = cache_entries.update().where(which, cache_entries.c.state == "whole")
    connection.execute(change.values(state="doomed", key=None, doomed_s=now_s(connection)))
