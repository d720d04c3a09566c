"""What is asked many times is made once, and found again for as long as it is whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import databases
import makers
from nephra_contract.errors import Cancelled, NephraError, RequestInvalid, Unprocessable
from nephra_contract.nifti import write_labels
from nephra_contract.paths import DataRoot
from nephra_gateway.cache import Cache, Done, Made
from nephra_gateway.store.cache_schema import cache_claims, cache_entries, cache_holds
from nephra_gateway.store.database import Database

Test = Callable[[Cache], Awaitable[None]]


class Maker:
    """Makes results, and counts how often."""

    def __init__(self, data: DataRoot) -> None:
        self.data = data
        self.runs: list[str] = []
        self.held: asyncio.Event | None = None
        self.begun = asyncio.Event()
        self.failing: BaseException | None = None

    async def __call__(self, ticket: str) -> dict[str, Any]:
        """Make one."""
        self.runs.append(ticket)
        self.begun.set()
        if self.held is not None:
            await self.held.wait()
        if self.failing is not None:
            raise self.failing
        return await asyncio.to_thread(makers.result, self.data, ticket)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """A data root with the input."""
    folder = tmp_path / "data"
    folder.mkdir()
    data = DataRoot(folder)
    makers.prepare(data)
    return data


@pytest.fixture
def maker(root: DataRoot) -> Maker:
    """Makes results."""
    return Maker(root)


@pytest.fixture
def play(database_url: str, root: DataRoot) -> Callable[[Test], None]:
    """Run a test with a cache, on each kind of database."""

    def run(test: Test) -> None:
        async def main() -> None:
            async with makers.opened(database_url, root, lease_s=600) as cache:
                await asyncio.wait_for(asyncio.ensure_future(test(cache)), 60)

        asyncio.run(main())

    return run


def waiting(cache: Cache) -> int:
    """How many wait for what another one makes."""
    return cache.flights.waiting


async def rows(database: Database, table: sa.Table) -> list[Any]:
    """All rows of a table."""
    return await database.read(lambda c: list(c.execute(sa.select(table))))


def test_what_was_made_is_found(play: Callable[[Test], None], root: DataRoot, maker: Maker) -> None:
    """The second asker gets the files of the first, and nothing runs."""

    async def test(cache: Cache) -> None:
        first = await makers.ask(cache, root, maker)
        second = await makers.ask(cache, root, maker)
        assert not first.cached
        assert second.cached
        assert second.answer["cached"]
        assert len(maker.runs) == 1
        assert second.answer["mask_path"] == first.answer["mask_path"]
        assert second.entry == first.entry is not None
        assert second.seconds == 2.5
        peeked = await cache.peek(makers.KEY)
        assert peeked is not None
        assert peeked == second
        assert await cache.peek("other") is None

    play(test)


def test_a_hundred_askers_share_one_run(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """All at once, in one process."""

    async def test(cache: Cache) -> None:
        made = await asyncio.gather(*(makers.ask(cache, root, maker) for _ in range(100)))
        assert len(maker.runs) == 1
        assert len({m.entry for m in made}) == 1
        assert sum(not m.cached for m in made) == 1
        assert await rows(cache.database, cache_claims) == []

    play(test)


def test_everybody_who_waits_hears_of_a_failure(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """With its problem; who asks later tries again."""
    maker.held = asyncio.Event()
    maker.failing = Unprocessable("The toy fails.", "Mend it.", code="toy_failed")

    async def test(cache: Cache) -> None:
        asking = [asyncio.ensure_future(makers.ask(cache, root, maker)) for _ in range(10)]
        await maker.begun.wait()
        await makers.until(lambda: waiting(cache) == 9)
        assert maker.held is not None
        maker.held.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert {getattr(e, "code", e) for e in found} == {"toy_failed"}
        maker.failing = None
        assert not (await makers.ask(cache, root, maker)).cached

    play(test)


@pytest.mark.parametrize(
    "error",
    [Cancelled("The ticket is cancelled."), RequestInvalid("Where it shall go."), KeyError("x")],
)
def test_what_concerns_one_ticket_fails_that_one(
    play: Callable[[Test], None], root: DataRoot, maker: Maker, error: Exception
) -> None:
    """Another one of those who wait makes it then."""
    maker.held, maker.failing = asyncio.Event(), error

    async def test(cache: Cache) -> None:
        first = asyncio.ensure_future(makers.ask(cache, root, maker))
        await maker.begun.wait()
        others = [asyncio.ensure_future(makers.ask(cache, root, maker)) for _ in range(5)]
        await makers.until(lambda: waiting(cache) == 5)
        assert maker.held is not None
        maker.held.set()
        await asyncio.wait({first})
        maker.failing = None
        with pytest.raises(type(error)):
            await first
        made = await asyncio.gather(*others)
        assert len(maker.runs) == 2
        assert sum(not m.cached for m in made) == 1

    play(test)


def test_whoever_is_cancelled_is_followed_by_another(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """The maker's ticket is cancelled; of those who wait one takes over."""
    maker.held = asyncio.Event()

    async def test(cache: Cache) -> None:
        first = asyncio.ensure_future(makers.ask(cache, root, maker))
        await maker.begun.wait()
        others = [asyncio.ensure_future(makers.ask(cache, root, maker)) for _ in range(5)]
        await makers.until(lambda: waiting(cache) == 5)
        maker.begun.clear()
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled()
        await maker.begun.wait()
        assert maker.held is not None
        maker.held.set()
        made = await asyncio.gather(*others)
        assert len(maker.runs) == 2
        assert sum(not m.cached for m in made) == 1

    play(test)


def test_whoever_is_cancelled_while_it_claims_leaves_no_claim(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """However far the claim has come when the asker goes away."""

    async def test(cache: Cache) -> None:
        ticket = await makers.submitted(cache, root)
        for turns in range(25):
            asking = asyncio.ensure_future(
                makers.ask(cache, root, maker, key=f"key {turns}", ticket=ticket)
            )
            for _ in range(turns):
                await asyncio.sleep(0.0003)
            asking.cancel()
            await asyncio.wait({asking})
        maker.runs.clear()
        for turns in range(25):
            await makers.ask(cache, root, maker, key=f"key {turns}", ticket=ticket)
        assert cache.flights._flights == {}

    play(test)


def test_what_has_no_key_is_made_for_everybody(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """Nothing is kept of it."""

    async def test(cache: Cache) -> None:
        asking = (makers.ask(cache, root, maker, key=None) for _ in range(3))
        made = await asyncio.gather(*asking)
        assert len(maker.runs) == 3
        assert {(m.entry, m.cached) for m in made} == {(None, False)}
        assert await rows(cache.database, cache_entries) == []

    play(test)


def test_a_fresh_result_takes_the_place_of_the_old(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """It is made though there is one, once for all who want it fresh at the same time."""

    async def test(cache: Cache) -> None:
        old = await makers.ask(cache, root, maker)
        maker.held = asyncio.Event()
        asking = [
            asyncio.ensure_future(makers.ask(cache, root, maker, fresh=True)) for _ in range(3)
        ]
        await makers.until(lambda: waiting(cache) == 2)
        assert (await makers.ask(cache, root, maker)).entry == old.entry
        maker.held.set()
        made = await asyncio.gather(*asking)
        assert len(maker.runs) == 2
        assert old.entry not in {m.entry for m in made}
        assert len({m.entry for m in made}) == 1
        assert (await makers.ask(cache, root, maker)).entry == made[-1].entry

    play(test)


def damaged(path: Path) -> None:
    """Another voxel, the same length."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("member", ["mask_path", "labels_path", "manifest_path"])
@pytest.mark.parametrize("harm", [damaged, Path.unlink])
def test_a_damaged_result_is_made_anew(
    database_url: str, root: DataRoot, maker: Maker, member: str, harm: Callable[[Path], None]
) -> None:
    """Any of its files gone or changed: it is not found any more, in no process."""

    async def main() -> None:
        async with (
            makers.opened(database_url, root) as cache,
            makers.opened(database_url, root) as other,
        ):
            first = await makers.ask(cache, root, maker)
            assert await other.peek(makers.KEY) is not None
            harm(root.root / first.answer[member])
            assert await cache.peek(makers.KEY) is None
            second = await makers.ask(other, root, maker)
            assert not second.cached
            assert second.answer[member] != first.answer[member]
            assert (await makers.ask(cache, root, maker)).entry == second.entry

    asyncio.run(main())


def test_a_data_root_that_is_away_damages_nothing(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """What is on a volume that is not mounted now is found again when it is back."""

    async def test(cache: Cache) -> None:
        await makers.ask(cache, root, maker)
        results = root.root / "results"
        results.rename(root.root / "away")
        with pytest.raises(NephraError) as caught:
            await cache.peek(makers.KEY)
        assert caught.value.code == "data_root_unavailable"
        (root.root / "away").rename(results)
        assert await cache.peek(makers.KEY) is not None

    play(test)


def test_a_replaced_input_poisons_nothing(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """A result of another file than its key says is its own asker's alone."""

    async def run(ticket: str) -> dict[str, Any]:
        write_labels(root.root / makers.INPUT, makers.labels(7))
        return await maker(ticket)

    async def test(cache: Cache) -> None:
        made = await makers.ask(cache, root, run)
        assert made.entry is None
        assert not made.cached
        assert await cache.peek(makers.KEY) is None
        assert await rows(cache.database, cache_claims) == []

    play(test)


def test_those_who_wait_for_what_cannot_be_shared_make_their_own(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """All at once, not one after the other."""
    maker.held = asyncio.Event()

    async def run(ticket: str) -> dict[str, Any]:
        answer = await maker(ticket)
        return {**answer, "manifest_path": "results/elsewhere/manifest.json"}

    async def test(cache: Cache) -> None:
        asking = [asyncio.ensure_future(makers.ask(cache, root, run)) for _ in range(4)]
        await makers.until(lambda: waiting(cache) == 3 and len(maker.runs) == 1)
        assert maker.held is not None
        maker.held.set()
        made = await asyncio.gather(*asking)
        assert len(maker.runs) == 4
        assert {m.entry for m in made} == {None}

    play(test)


def test_parts_are_found_made_and_waited_for_side_by_side(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """One call makes what nobody makes; what is there is given before that ends."""

    async def test(cache: Cache) -> None:
        content = await cache.contents.of(makers.INPUT)
        assert content is not None
        expected = {"mask_path": [content.file], "bundle": []}
        calls: list[list[str]] = []
        gates = {name: asyncio.Event() for name in "abcd"}

        async def step(*parts: str) -> dict[str, Made]:
            ticket = await makers.submitted(cache, root)
            given: dict[str, Made] = {}

            async def make(wanted: Sequence[str], done: Done) -> None:
                calls.append(list(wanted))
                for part in wanted:
                    await gates[part].wait()
                    name = f"inference/{part}"
                    made = await asyncio.to_thread(makers.result, root, ticket, name)
                    await done(part, made, 1.0)

            async def give(part: str, made: Made) -> None:
                given[part] = made

            steps.append(given)
            keys = {part: f"key of {part}" for part in parts}
            inputs = dict.fromkeys(parts, expected)
            await cache.once(keys, ticket, make, give, fresh=False, inputs=inputs)
            return given

        steps: list[dict[str, Made]] = []
        gates["a"].set()
        await step("a")
        first = asyncio.ensure_future(step("b"))
        await makers.until(lambda: len(calls) == 2)
        second = asyncio.ensure_future(step("a", "b", "c", "d"))
        await makers.until(lambda: len(calls) == 3)
        assert calls == [["a"], ["b"], ["c", "d"]]
        await makers.until(lambda: set(steps[2]) == {"a"})
        gates["c"].set()
        await makers.until(lambda: set(steps[2]) == {"a", "c"})
        gates["b"].set()
        gates["d"].set()
        await first
        found = await second
        assert {part: made.cached for part, made in found.items()} == {
            "a": True,
            "b": True,
            "c": False,
            "d": False,
        }
        assert len(calls) == 3

    play(test)


def test_what_a_maker_tells_twice_is_given_once(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """Models announce their masks, and name them again in the end."""

    async def test(cache: Cache) -> None:
        ticket = await makers.submitted(cache, root)
        given: list[str] = []

        async def make(parts: Sequence[str], done: Done) -> None:
            answer = await maker(ticket)
            for _ in range(2):
                await done("", answer, 1.0)

        async def give(part: str, made: Made) -> None:
            given.append(part)

        content = await cache.contents.of(makers.INPUT)
        assert content is not None
        inputs = {"": {"mask_path": [content.file]}}
        await cache.once({"": "k"}, ticket, make, give, inputs=inputs)
        assert given == [""]
        assert len(await rows(cache.database, cache_entries)) == 1

    play(test)


def test_a_maker_that_forgets_a_part_fails(play: Callable[[Test], None], root: DataRoot) -> None:
    """Nothing is taken for there that is not."""

    async def test(cache: Cache) -> None:
        ticket = await makers.submitted(cache, root)

        async def make(parts: Sequence[str], done: Done) -> None:
            return

        async def give(part: str, made: Made) -> None:
            raise AssertionError

        with pytest.raises(NephraError, match="did not make 'vessel'"):
            await cache.once(
                {"vessel": "k"}, ticket, make, give, fresh=False, inputs={"vessel": {}}
            )

    play(test)


def test_tickets_hold_what_they_were_given(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """Whoever made it, and whoever found it, from that moment on."""

    async def test(cache: Cache) -> None:
        one, two = await makers.submitted(cache, root), await makers.submitted(cache, root)
        made = await makers.ask(cache, root, maker, ticket=one)
        await makers.ask(cache, root, maker, ticket=two)
        found = await rows(cache.database, cache_holds)
        assert {(r.ticket, r.entry) for r in found} == {(one, made.entry), (two, made.entry)}

    play(test)


def test_what_is_made_of_entries_is_an_entry(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """A case is found as a whole, and not any more when a file of one of its parts is damaged."""

    async def test(cache: Cache) -> None:
        home = await makers.submitted(cache, root)
        part = await makers.ask(cache, root, maker, ticket=home)
        assert part.entry is not None
        path = f"results/{home}/manifest.json"
        (root.root / path).write_text(json.dumps({"operation": "cases"}))
        answer = {"scene_path": part.answer["mask_path"], "manifest_path": path}
        kept = await cache.remember("case", "cases", home, answer, [path], [part.entry], 60)
        assert kept is not None
        found = await cache.peek("case")
        assert found is not None
        assert found.entry == kept
        assert found.answer == {**answer, "cached": True}
        assert found.seconds == 60
        damaged(root.root / part.answer["mask_path"])
        assert await cache.peek("case") is None
        assert await cache.peek(makers.KEY) is None
        assert await cache.remember("2", "cases", home, answer, [path], [part.entry], 1) is None
        assert await cache.remember("3", "cases", home, answer, ["gone"], [], 1) is None

    play(test)


def test_hits_and_misses_are_counted_over_all_processes(
    database_url: str, root: DataRoot, maker: Maker
) -> None:
    """In memory at once, in the database now and then, at the latest in the end."""

    async def main() -> None:
        async with makers.opened(database_url, root) as cache:
            await makers.ask(cache, root, maker)
            await makers.ask(cache, root, maker)
            view = await cache.view()
            assert (view.hits, view.misses, view.seconds_saved) == (1, 1, 2.5)
            await cache.usage.flush()
            assert (await cache.view()) == view
        async with makers.opened(database_url, root) as cache:
            assert await cache.peek(makers.KEY) is not None
            view = await cache.view()
            assert (view.hits, view.misses, view.seconds_saved) == (2, 1, 5.0)
            assert view.entries == 1
            assert view.bytes > 0
        async with makers.opened(database_url, root) as cache:
            assert [row.hits for row in await rows(cache.database, cache_entries)] == [2]

    asyncio.run(main())


def test_an_entry_is_written_to_once_in_a_while(
    play: Callable[[Test], None], root: DataRoot, maker: Maker
) -> None:
    """However often it is used, its time is not written down each time."""

    async def test(cache: Cache) -> None:
        await makers.ask(cache, root, maker)
        cache.usage.touch_s = 1e6
        used = []
        for _ in range(3):
            await cache.peek(makers.KEY)
            await cache.usage.flush()
            used.append((await rows(cache.database, cache_entries))[0].used_s)
        assert used[0] == used[1] == used[2]
        await cache.usage.flush(last=True)
        row = (await rows(cache.database, cache_entries))[0]
        assert row.used_s > used[0]
        assert row.hits == 3

    play(test)


def test_work_waits_for_a_database_that_is_away(root: DataRoot, maker: Maker) -> None:
    """What was made is registered when it is back; a look does not wait."""
    if (why := databases.absent()) is not None:
        pytest.skip(why)

    async def main(server: databases.Server) -> None:
        async with makers.opened(server.url, root) as cache:
            maker.held = asyncio.Event()
            asking = asyncio.ensure_future(makers.ask(cache, root, maker))
            await maker.begun.wait()
            await asyncio.to_thread(server.stop)
            maker.held.set()
            with pytest.raises(NephraError) as caught:
                await cache.peek(makers.KEY)
            assert caught.value.code == "database_unavailable"
            await asyncio.to_thread(server.start)
            made = await asyncio.wait_for(asking, 60)
            assert made.entry is not None
            assert await cache.peek(makers.KEY) is not None

    with databases.postgres() as server:
        Database.of(server.url).migrate()
        asyncio.run(main(server))
