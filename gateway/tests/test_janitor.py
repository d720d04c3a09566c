"""What is not needed any more goes, whole and in order; what a kept ticket names stays."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import makers
from nephra_contract.fences import close_ticket
from nephra_contract.paths import DataRoot
from nephra_contract.results import new_ticket
from nephra_gateway.cache import Cache, Made
from nephra_gateway.janitor import Janitor
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.store import tickets
from nephra_gateway.store.cache_schema import cache_clearings, cache_entries, cache_parts
from nephra_gateway.store.schema import ticket_entries
from nephra_gateway.store.schema import tickets as rows_of_tickets
from nephra_gateway.store.tickets import Asked

YEAR_S = 3.2e7


class House:
    """A cache, and what a test does with its tickets and files."""

    def __init__(self, cache: Cache, data: DataRoot, url: str) -> None:
        self.cache = cache
        self.data = data
        self._url = url

    async def make(self, key: str, ticket: str | None = None) -> tuple[str, Made]:
        """A result in the folder of a ticket that runs; gives both."""
        home = ticket or await makers.submitted(self.cache, self.data)

        async def run(home: str) -> dict[str, Any]:
            return await asyncio.to_thread(makers.result, self.data, home, f"postprocess/{key}")

        made = await makers.ask(self.cache, self.data, run, key=key, ticket=home)
        return home, made

    async def case(self, key: str) -> tuple[str, str, Made]:
        """A case made of one result; gives ticket, entry, and the result."""
        home, part = await self.make(f"part-of-{key}")
        path = f"results/{home}/manifest.json"
        (self.data.root / path).write_text("{}")
        assert part.entry is not None
        answer = {"scene_path": part.answer["mask_path"], "manifest_path": path}
        entry = await self.cache.remember(key, "cases", home, answer, [path], [part.entry], 1)
        assert entry is not None
        return home, entry, part

    async def end(self, ticket: str, state: str, *entries: str | None) -> None:
        """End a ticket, with the entries that it names; workers close the folders of theirs."""
        if state == "succeeded":
            await asyncio.to_thread(close_ticket, self.data, ticket)

        def write(connection: sa.Connection) -> None:
            connection.execute(
                rows_of_tickets.update()
                .where(rows_of_tickets.c.id == ticket)
                .values(state=state, ended_s=tickets_now(connection))
            )
            for entry in entries:
                connection.execute(ticket_entries.insert().values(ticket=ticket, entry=entry))

        await self.cache.database.write(write)

    async def age(self, table: sa.Table, column: str, by_s: float, **which: Any) -> None:
        """Let something be older than it is."""
        change = table.update().values({column: table.c[column] - by_s})
        for name, value in which.items():
            change = change.where(table.c[name] == value)
        await self.cache.database.write(lambda c: c.execute(change).rowcount)

    def janitor(self, **settings: Any) -> Janitor:
        """Who sweeps: with these settings."""
        told = GatewaySettings(data=self.data.root, database=self._url, **settings)
        return Janitor(self.cache.database, self.data, told, "test")

    async def rows(self, table: sa.Table) -> list[Any]:
        """All rows of a table."""
        return await self.cache.database.read(lambda c: list(c.execute(sa.select(table))))

    @property
    def files(self) -> set[str]:
        """Every file below results/, hidden ones too, and folders that hold nothing."""
        root = self.data.root
        found = (root / "results").rglob("*")
        return {str(p.relative_to(root)) for p in found if p.is_file() or not any(p.iterdir())}


def tickets_now(connection: sa.Connection) -> float:
    """The database's clock."""
    from nephra_gateway.store.database import now_s

    return now_s(connection)


Test = Callable[[House], Awaitable[None]]


@pytest.fixture
def play(database_url: str, tmp_path: Path) -> Callable[[Test], None]:
    """Run a test in a house, on each kind of database."""
    folder = tmp_path / "data"
    folder.mkdir()
    data = DataRoot(folder)
    makers.prepare(data)

    def run(test: Test) -> None:
        async def main() -> None:
            async with makers.opened(database_url, data) as cache:
                await test(House(cache, data, database_url))

        asyncio.run(main())

    return run


def paths(made: Made) -> set[str]:
    """The files of a result."""
    return {v for m, v in made.answer.items() if m.endswith("_path") and v}


def test_what_is_not_used_goes(play: Callable[[Test], None]) -> None:
    """Files and row, after its time; what was used in the meantime stays."""

    async def test(house: House) -> None:
        one, old = await house.make("old")
        two, used = await house.make("used")
        await house.end(one, "succeeded")
        await house.end(two, "succeeded")
        await house.cache.database.write(_let_go)
        await house.age(cache_entries, "used_s", 1e5)
        await house.cache.peek("used")
        await house.cache.usage.flush()
        await house.janitor().sweep()
        assert await house.cache.peek("old") is None
        assert (await house.cache.peek("used")) is not None
        assert house.files >= paths(used)
        assert not house.files & paths(old)
        assert [row.key for row in await house.rows(cache_entries)] == ["used"]

    play(test)


def _let_go(connection: sa.Connection) -> None:
    """Tickets are not there to name anything."""
    connection.execute(rows_of_tickets.delete())


def test_a_recent_result_stays(play: Callable[[Test], None]) -> None:
    """Though nobody names it; its time counts from its last use."""

    async def test(house: House) -> None:
        await house.make("one")
        await house.cache.database.write(_let_go)
        await house.age(cache_entries, "used_s", 1000)
        await house.janitor(cache_unused_s=1800).sweep()
        assert await house.cache.peek("one") is not None
        await house.age(cache_entries, "used_s", 1000)
        await house.janitor(cache_unused_s=1800).sweep()
        assert await house.cache.peek("one") is None

    play(test)


def test_a_size_is_kept_by_the_least_recently_used_going_first(
    play: Callable[[Test], None],
) -> None:
    """What tickets name does not count, and does not go."""

    async def test(house: House) -> None:
        ids = [await house.make(key) for key in ("a", "b", "c", "d")]
        named, _ = ids[0]
        await house.end(named, "succeeded", ids[0][1].entry)
        size = (await house.rows(cache_entries))[0].bytes
        gone = rows_of_tickets.delete().where(rows_of_tickets.c.id != named)
        await house.cache.database.write(lambda c: c.execute(gone).rowcount)
        for age, key in enumerate(("c", "b", "d", "a")):
            await house.age(cache_entries, "used_s", age * 10, key=key)
        await house.janitor(cache_max_bytes=int(2.5 * size)).sweep()
        found = {key for key in "abcd" if await house.cache.peek(key) is not None}
        assert found == {"a", "c", "b"}
        await house.janitor(cache_max_bytes=0).sweep()
        assert {row.key for row in await house.rows(cache_entries)} == {"a"}
        assert house.files >= paths(ids[0][1])

    play(test)


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_what_a_kept_ticket_names_stays(play: Callable[[Test], None], state: str) -> None:
    """However long it is not used and however little room there is; also what it was given."""

    async def test(house: House) -> None:
        home, made = await house.make("made")
        user = new_ticket()
        asked = Asked(user, "x", {}, "anyone")
        await house.cache.database.write(lambda c: tickets.submit(c, asked))
        await house.end(user, state, made.entry)
        await house.end(home, "failed")
        await house.age(cache_entries, "used_s", YEAR_S)
        await house.janitor(cache_max_bytes=0).sweep()
        assert await house.cache.peek("made") is not None
        assert house.files == paths(made)
        await house.end(user, "cancelled")
        await house.age(cache_entries, "used_s", YEAR_S)
        await house.janitor().sweep()
        assert house.files == set()
        assert await house.rows(cache_entries) == []

    play(test)


def test_what_a_running_ticket_was_given_stays(play: Callable[[Test], None]) -> None:
    """It names nothing yet; who made it is gone, and there is no room."""

    async def test(house: House) -> None:
        home, made = await house.make("made")
        user, found = await house.make("made")
        assert found.cached
        await house.end(home, "failed")
        await house.age(cache_entries, "used_s", YEAR_S)
        await house.janitor(cache_max_bytes=0).sweep()
        assert house.files == paths(made) | {f"results/{user}/.work-0"}
        assert await house.cache.peek("made") is not None

    play(test)


def test_what_a_kept_case_is_made_of_stays(play: Callable[[Test], None]) -> None:
    """A ticket that names the whole keeps its parts; when it goes, all go."""

    async def test(house: House) -> None:
        home, entry, _ = await house.case("case")
        user = new_ticket()
        asked = Asked(user, "cases", {}, "anyone")
        done = [entry]
        await house.cache.database.write(lambda c: tickets.submit_done(c, asked, {}, done))
        await house.end(home, "failed")
        await house.age(cache_entries, "used_s", YEAR_S)
        await house.janitor(cache_max_bytes=0).sweep()
        assert await house.cache.peek("case") is not None
        await house.age(rows_of_tickets, "ended_s", YEAR_S)
        await house.janitor(cache_max_bytes=0).sweep()
        assert house.files == set()
        assert await house.rows(cache_entries) == []
        assert await house.rows(cache_parts) == []
        assert await house.rows(cache_clearings) == []

    play(test)


def test_a_damaged_result_stays_for_the_ticket_that_names_it(
    play: Callable[[Test], None],
) -> None:
    """Its other files may be what somebody looks at; it is only not found any more."""

    async def test(house: House) -> None:
        home, made = await house.make("made")
        await house.end(home, "succeeded", made.entry)
        (house.data.root / made.answer["mask_path"]).write_bytes(b"")
        assert await house.cache.peek("made") is None
        await house.janitor(cache_max_bytes=0).sweep()
        assert house.files == paths(made)
        _, again = await house.make("made")
        assert not again.cached
        await house.age(rows_of_tickets, "ended_s", YEAR_S, id=home)
        await house.janitor().sweep()
        assert not house.files & paths(made)
        assert house.files >= paths(again)

    play(test)


def test_expired_tickets_go_with_their_folders(play: Callable[[Test], None]) -> None:
    """But for entries, which others may still find; those go in their own time."""

    async def test(house: House) -> None:
        home, made = await house.make("made")
        (house.data.root / f"results/{home}/manifest.json").write_text("{}")
        (house.data.root / f"results/{home}/other").mkdir()
        (house.data.root / f"results/{home}/other/file").write_text("not in the cache")
        await house.end(home, "succeeded", made.entry)
        await house.age(rows_of_tickets, "ended_s", YEAR_S)
        await house.janitor().sweep()
        assert await house.rows(rows_of_tickets) == []
        assert house.files == paths(made)
        assert await house.cache.peek("made") is not None
        assert [row.ticket for row in await house.rows(cache_clearings)] == [home]
        await house.age(cache_entries, "used_s", YEAR_S)
        await house.janitor().sweep()
        assert house.files == set()
        assert await house.rows(cache_clearings) == []

    play(test)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_what_came_to_nothing_leaves_entries_alone(
    play: Callable[[Test], None], state: str
) -> None:
    """Finished steps can be found again; the rest of the folder goes, workshops too."""

    async def test(house: House) -> None:
        home, made = await house.make("made")
        empty = await makers.submitted(house.cache, house.data)
        (house.data.root / f"results/{home}/half").mkdir()
        (house.data.root / f"results/{home}/half/file").write_text("not in the cache")
        await house.end(home, state)
        await house.end(empty, state)
        running, other = await house.make("other")
        before = house.files
        await house.janitor().sweep()
        assert house.files == paths(made) | paths(other) | {f"results/{running}/.work-0"}
        assert before > house.files
        assert not (house.data.root / "results" / empty).exists()

    play(test)


def test_unknown_folders_are_left_alone(play: Callable[[Test], None]) -> None:
    """Of older installations, and of predictors that were asked directly."""

    async def test(house: House) -> None:
        unknown = house.data.root / "results" / new_ticket() / "postprocess-fat"
        unknown.mkdir(parents=True)
        (unknown / "mask.nii.gz").write_text("x")
        (house.data.root / "results" / "notes.txt").write_text("x")
        cut_short = house.data.root / "results" / f".withdrawn-{new_ticket()}" / "fat"
        cut_short.mkdir(parents=True)
        (cut_short / "mask.nii.gz").write_text("x")
        await house.janitor().sweep()
        assert (unknown / "mask.nii.gz").exists()
        assert (house.data.root / "results" / "notes.txt").exists()
        assert not cut_short.parent.exists()

    play(test)


def test_one_of_several_sweeps(play: Callable[[Test], None]) -> None:
    """The others leave it to it, until it is silent for long."""

    async def test(house: House) -> None:
        told = GatewaySettings(data=house.data.root)
        first = Janitor(house.cache.database, house.data, told, "first")
        second = Janitor(house.cache.database, house.data, told, "second")
        assert await first._mine()
        assert not await second._mine()
        assert await first._mine()

    play(test)


def test_what_a_running_ticket_was_given_is_there_while_others_sweep(
    play: Callable[[Test], None],
) -> None:
    """Sweeps with room for nothing go on all the time; results are found, made, and taken away."""

    async def test(house: House) -> None:
        found: list[bool] = []
        sweeping = asyncio.create_task(_sweep_steadily(house.janitor(cache_max_bytes=0)))

        async def asker(number: int) -> None:
            for turn in range(12):
                ticket, made = await house.make(f"key{(number + turn) % 3}")
                assert all((house.data.root / path).is_file() for path in paths(made))
                await house.janitor(cache_max_bytes=0).sweep()
                assert all((house.data.root / path).is_file() for path in paths(made))
                found.append(made.cached)
                await house.end(ticket, "failed")

        await asyncio.gather(*(asker(number) for number in range(6)))
        sweeping.cancel()
        await asyncio.wait({sweeping})
        assert sweeping.cancelled()
        assert len(set(found)) == 2
        await house.janitor(cache_max_bytes=0).sweep()
        assert house.files == set()
        assert await house.rows(cache_entries) == []

    play(test)


async def _sweep_steadily(janitor: Janitor) -> None:
    while True:
        await janitor.sweep()


#: More operations than a sweep of the house below consists of.
_MANY = 60


class Sweeper:
    """Forks sweeps that are killed, from a program that has loaded all that they need."""

    def __init__(self) -> None:
        command = [sys.executable, Path(makers.__file__).with_name("sweeper.py")]
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def sweep(self, url: str, data: DataRoot, number: int) -> bool:
        """Sweep until right before the operation of that number; whether it came to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([url, str(data.root), number]) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        assert status in (0, signal.SIGKILL)
        return status == 0

    def end(self) -> None:
        """End it."""
        self._process.communicate()


@pytest.fixture(scope="module")
def sweeper() -> Iterator[Sweeper]:
    """Forks sweeps that are killed."""
    found = Sweeper()
    yield found
    found.end()


def test_a_sweep_that_is_killed_anywhere_is_finished_by_the_next(
    database_url: str, tmp_path: Path, sweeper: Sweeper
) -> None:
    """Before each single change in the database and on disk: nothing is lost, nothing left."""
    every = 1 if database_url.startswith("sqlite") else 5  # on disk the same is done
    for number in range(0, _MANY, every):
        folder = tmp_path / f"data-{number}"
        folder.mkdir()
        data = DataRoot(folder)
        makers.prepare(data)
        if asyncio.run(_sweep_killed(database_url, data, number, sweeper)):
            break
    assert 10 < number < _MANY - every


async def _sweep_killed(url: str, data: DataRoot, number: int, sweeper: Sweeper) -> bool:
    """Furnish a house, have a sweep killed before an operation, and sweep again."""
    async with makers.opened(url, data) as cache:
        house = House(cache, data, url)
        for table in (rows_of_tickets, cache_entries, cache_clearings):
            await cache.database.write(partial(_empty, table=table))
        expired, _, _ = await house.case("case")
        failed, _ = await house.make("failed")
        kept_home, kept = await house.make("kept")
        (data.root / f"results/{failed}/half").mkdir()
        await house.end(expired, "succeeded")
        await house.end(failed, "failed")
        await house.end(kept_home, "succeeded", kept.entry)
        await house.age(rows_of_tickets, "ended_s", YEAR_S, id=expired)
        await house.age(cache_entries, "used_s", YEAR_S)
        finished = await asyncio.to_thread(sweeper.sweep, url, data, number)
        # Whatever it has left is known: as an entry, or by a ticket whose folder has to go.
        known = {path for row in await house.rows(cache_entries) for path in row.files}
        homes = {row.ticket for row in await house.rows(cache_clearings)}
        homes |= {row.id for row in await house.rows(rows_of_tickets)}
        left = {p for p in house.files - known if not p.startswith("results/.withdrawn-")}
        assert {path.split("/")[1] for path in left} <= homes
        await house.janitor().sweep()
        assert house.files == paths(kept)
        assert {row.key for row in await house.rows(cache_entries)} == {"kept"}
        assert await house.rows(cache_clearings) == []
        assert await cache.peek("kept") is not None
        return finished


def _empty(connection: sa.Connection, table: sa.Table) -> None:
    connection.execute(table.delete())
