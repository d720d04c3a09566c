"""Who looks entries up at the same moment shares a query, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from nephra_contract.errors import Unavailable
from nephra_gateway.lookup import Lookup
from nephra_gateway.store import entries
from nephra_gateway.store.database import Database
from nephra_gateway.store.entries import Entry, Result
from nephra_gateway.store.tickets import Asked, submit

T = TypeVar("T")


def put(connection: Connection, *keys: str) -> None:
    """Entries, all of one ticket."""
    ticket = "0" * 32
    submit(connection, Asked(ticket, "toy", {}, "anyone"))
    for key in keys:
        result = Result(f"id of {key}", key, "toy", ticket, None, 1, 1.0, {}, {})
        assert entries.put(connection, result)


def play(url: str, test: Callable[[Database], Awaitable[None]]) -> None:
    """Run a test with a database."""

    async def main() -> None:
        database = Database.of(url)
        try:
            await test(database)
        finally:
            await database.close()

    asyncio.run(main())


def test_everybody_gets_what_he_asked_for(database_url: str) -> None:
    """Many keys by many askers at once, some of them not there."""

    async def test(database: Database) -> None:
        await database.write(lambda c: put(c, *(f"k{n}" for n in range(5))))
        lookup = Lookup(database)
        asked = [f"k{n % 7}" for n in range(70)]
        found = await asyncio.gather(*(lookup.find(key) for key in asked))
        for key, entry in zip(asked, found, strict=True):
            assert (None if entry is None else entry.key) == (key if key[1] < "5" else None)

    play(database_url, test)


def test_those_who_come_meanwhile_share_the_next_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And see what was written after the first one had begun."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    Database.of(url).migrate()
    go, begun, queries = threading.Event(), threading.Event(), list[list[str]]()
    find_all = entries.find_all

    def slowly(connection: Connection, keys: dict[str, object]) -> dict[str, Entry]:
        queries.append(sorted(keys))
        found = find_all(connection, keys)
        begun.set()
        assert go.wait(60)
        return found

    monkeypatch.setattr(entries, "find_all", slowly)

    async def test(database: Database) -> None:
        lookup = Lookup(database)
        first = asyncio.ensure_future(lookup.find("a"))
        assert await asyncio.to_thread(begun.wait, 60)
        await database.write(lambda c: put(c, "a", "b"))
        later = [asyncio.ensure_future(lookup.find(key)) for key in "aabb"]
        later[0].cancel()
        await asyncio.wait({later[0]})
        go.set()
        assert await first is None
        found = await asyncio.gather(*later[1:])
        assert [entry and entry.key for entry in found] == ["a", "b", "b"]
        assert queries == [["a"], ["a", "b"]]

    play(url, test)


def test_everybody_hears_that_the_database_is_away(tmp_path: Path) -> None:
    """Also those who share the query; the next one is tried anew."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"

    async def test(database: Database) -> None:
        lookup = Lookup(database)
        found = await asyncio.gather(*(lookup.find(k) for k in "aab"), return_exceptions=True)
        assert [type(error) for error in found] == [Unavailable] * 3
        await asyncio.to_thread(database.migrate)
        assert await lookup.find("a") is None

    play(url, test)
