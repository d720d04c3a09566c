"""What the database promises its callers, of either kind."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

import databases
from databases import Asker
from nephra_contract.errors import Unavailable
from nephra_gateway.store import clock, database, sqlite
from nephra_gateway.store.database import Database, now_s
from nephra_gateway.store.schema import chores

PATIENCE_S = 60.0


def put(connection: Connection, name: str) -> str:
    """Write something."""
    connection.execute(chores.insert().values(name=name, holder="h", lease_until_s=0.0))
    return name


def there(connection: Connection) -> set[str]:
    """What has been written."""
    return set(connection.execute(sa.select(chores.c.name)).scalars())


def is_away(work: Callable[[], Any]) -> None:
    """It fails in our own words alone."""
    with pytest.raises(Unavailable) as found:
        work()
    assert found.value.code == "database_unavailable"
    assert found.value.detail == "The database of this gateway cannot be used now."
    assert "Try again later" in found.value.action


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://host/name", "sqlite://", "sqlite:///:memory:", "sqlite:///a/b.db"],
)
def test_an_address_of_something_else_is_refused(url: str) -> None:
    """In a sentence, before anything is opened."""
    with pytest.raises(ValueError, match=r"sqlite:////absolute/path|absolute path"):
        Database.of(url)


def test_what_is_written_can_be_read_at_once(asker: Asker) -> None:
    """And the work's answer comes back."""
    assert asker.write(partial(put, name="a")) == "a"
    assert asker.read(there) == {"a"}


def test_a_work_that_fails_has_written_nothing(asker: Asker) -> None:
    """And its own error comes back."""

    def work(connection: Connection) -> None:
        put(connection, "a")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asker.write(work)
    assert asker.read(there) == set()


def test_works_at_the_same_moment_fail_one_by_one(asker: Asker) -> None:
    """Those that share a commit with one that fails are not harmed, whatever its error is."""

    def work(connection: Connection, number: int) -> int:
        put(connection, f"{number}")
        if number % 3 == 0:
            raise ValueError(str(number))
        if number % 7 == 0:
            connection.execute(sa.text("SELECT nonsense"))
        return number

    async def all_at_once() -> list[Any]:
        works = [asker.database.write(partial(work, number=n)) for n in range(50)]
        return await asyncio.gather(*works, return_exceptions=True)

    found = asyncio.run(all_at_once())
    good = {n for n in range(50) if n % 3 and n % 7}
    assert {n for n in found if isinstance(n, int)} == good
    assert [str(e) for e in found if isinstance(e, ValueError)] == [str(n) for n in range(0, 50, 3)]
    assert asker.read(there) == {str(n) for n in good}


def test_works_that_wait_together_share_one_commit(tmp_path: Path) -> None:
    """On SQLite, where each commit by itself would cost a lock and a write to the disk."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    Database.of(url).migrate()
    begun, go = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        begun.set()
        assert go.wait(PATIENCE_S)

    async def all_at_once(asked: Database) -> None:
        first = asyncio.create_task(asked.write(hold))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        others = [asyncio.create_task(asked.write(partial(put, name=f"{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, *others)

    with databases.asking(url) as asker:
        assert isinstance(asker.database, sqlite.SqliteDatabase)
        commits: list[Connection] = []
        sa.event.listen(asker.database._to_write, "commit", commits.append)
        asyncio.run(all_at_once(asker.database))
        assert len(asker.read(there)) == 50
        assert len(commits) == 2


def test_who_is_cancelled_leaves_no_transaction_open(asker: Asker) -> None:
    """The work ends by itself, and the next one is not held up."""
    begun, go = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        put(connection, "held")
        begun.set()
        assert go.wait(PATIENCE_S)

    async def cancelled() -> None:
        task = asyncio.create_task(asker.database.write(hold))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await asker.database.write(partial(put, name="next"))

    asyncio.run(cancelled())
    assert "next" in asker.read(there)


def test_many_threads_with_loops_of_their_own_can_ask(asker: Asker) -> None:
    """One database serves them all."""
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: asker.write(partial(put, name=f"{n}")), range(40)))
    assert len(asker.read(there)) == 40


def test_a_database_that_says_nothing_is_said_to_be_away(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it forever; and it serves again when it speaks again."""
    monkeypatch.setattr(database, "_ANSWERS_WITHIN_S", 0.1)
    go = threading.Event()
    is_away(lambda: asker.write(lambda c: go.wait(PATIENCE_S)))
    go.set()
    monkeypatch.undo()
    asker.write(partial(put, name="a"))


def test_the_time_is_the_databases(asker: Asker) -> None:
    """It goes on within a transaction."""
    first, second = asker.write(lambda c: (now_s(c), now_s(c)))
    assert first < second < first + PATIENCE_S


# --- SQLite alone ----------------------------------------------------------------------------


def test_who_reads_cannot_write(tmp_path: Path) -> None:
    """A write that goes the wrong way would wait for locks where nobody expects it."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    Database.of(url).migrate()
    with databases.asking(url) as asker:
        is_away(lambda: asker.read(partial(put, name="a")))
        assert asker.read(there) == set()


def test_a_lock_held_for_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers do not mind, and writers write when it is let go."""
    monkeypatch.setattr(sqlite, "_LOCKED_S", 0.05)
    path = tmp_path / "gateway.db"
    Database.of(f"sqlite:///{path}").migrate()
    with (
        databases.asking(f"sqlite:///{path}") as asker,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        is_away(lambda: asker.write(partial(put, name="a")))
        assert asker.read(there) == set()
        other.execute("COMMIT")
        asker.write(partial(put, name="a"))


def test_a_lock_is_waited_for_once_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by one after the other: the last of sixty would wait for minutes."""
    monkeypatch.setattr(sqlite, "_LOCKED_S", 0.05)
    path = tmp_path / "gateway.db"
    Database.of(f"sqlite:///{path}").migrate()
    works = [sqlite._Waiting(partial(put, name=f"{n}")) for n in range(3)]
    with (
        databases.asking(f"sqlite:///{path}") as asker,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        assert isinstance(asker.database, sqlite.SqliteDatabase)
        other.execute("BEGIN IMMEDIATE")
        assert asker.database._together(works)
        for waiting in works:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                waiting.future.result(0)


@pytest.mark.parametrize("content", [None, b"this is no database" * 1000])
def test_a_file_that_is_no_database_is_said(tmp_path: Path, content: bytes | None) -> None:
    """Or one in a folder that is not there: a data root that is not mounted is not made."""
    path = tmp_path / "missing" / ".nephra" / "gateway.db"
    if content is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with databases.asking(f"sqlite:///{path}") as asker:
        is_away(lambda: asker.read(there))
        is_away(lambda: asker.write(partial(put, name="a")))
        is_away(asker.database.migrate)
        is_away(asker.database.check_schema)
    assert path.exists() == (content is not None)


# --- PostgreSQL alone ------------------------------------------------------------------------


@pytest.fixture
def server() -> Any:
    """A server of one's own."""
    why = databases.absent()
    if why is not None:
        pytest.skip(why)
    with databases.postgres() as found:
        Database.of(found.url).migrate()
        yield found


def test_a_server_that_is_away_is_said_and_got_over(server: databases.Server) -> None:
    """Whether it was stopped, or has crashed in the middle of a work."""
    with databases.asking(server.url) as asker:
        asker.write(partial(put, name="a"))
        server.stop()
        is_away(lambda: asker.read(there))
        is_away(lambda: asker.write(partial(put, name="b")))
        is_away(asker.database.check_schema)
        server.start()
        assert asker.read(there) == {"a"}

        def crashed(connection: Connection) -> None:
            put(connection, "c")
            server.stop(crash=True)
            put(connection, "d")

        is_away(lambda: asker.write(crashed))
        server.start()
        assert asker.read(there) == {"a"}
        asker.write(partial(put, name="e"))


def test_nobody_is_taken_from_right_after_a_start(server: databases.Server) -> None:
    """Holders could not beat while it was away: they have one lease's time to do so."""
    with databases.asking(server.url) as asker:
        assert asker.read(lambda c: clock.lapsed_s(c, PATIENCE_S)) == float("-inf")
        assert asker.read(lambda c: clock.lapsed_s(c, 0.0)) > 1e9


def test_works_that_block_each_other_are_done_both(
    postgresql: databases.Server, template: str
) -> None:
    """One of two in a deadlock is done again."""
    met = threading.Barrier(2)
    rounds: list[str] = []

    def work(connection: Connection, first: str, second: str) -> None:
        rounds.append(first)
        connection.execute(chores.update().where(chores.c.name == first).values(holder="x"))
        if len(rounds) <= 2:
            met.wait(PATIENCE_S)
        connection.execute(chores.update().where(chores.c.name == second).values(holder="x"))

    async def both(asked: Database) -> None:
        works = [partial(work, first=a, second=b) for a, b in ("ab", "ba")]
        await asyncio.gather(*(asked.write(each) for each in works))

    with databases.asking(postgresql.create(template)) as asker:
        asker.write(lambda c: [put(c, name) for name in "ab"])
        asyncio.run(both(asker.database))
    assert len(rounds) > 2
