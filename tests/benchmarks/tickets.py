"""How long the database of tickets takes: `PYTHONPATH=tests python -m benchmarks.tickets`.

On SQLite in a folder, and on a PostgreSQL server of its own that waits for the disk as any does.
What it makes is random in nothing but the tickets' numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

import databases
from nephra_contract.messages import Event
from nephra_gateway.store import tickets, turns
from nephra_gateway.store.database import Database
from nephra_gateway.store.schema import tickets as table
from nephra_gateway.store.tickets import Asked, Lease

OWNERS = 5
REQUEST = {"phases": {p: f"patient/{p}.nii.gz" for p in "APD"}, "structures": ["kidney", "tumor"]}
RESULT = {"ticket": "0" * 32, "mask_paths": {str(n): "results/" + "0" * 60 for n in range(40)}}
LEASE_S = 60.0

#: Milliseconds at the median that are promised, by what is measured.
GOALS = {"list a page of 50": 50.0, "claim a ticket": 20.0}


@dataclass
class Bench:
    """One database, measured.

    Args:
        url: where it is.
        queued: how many tickets wait all the time.
        ended: how many are kept that have ended.
        rounds: how often each thing is done.
        milliseconds: what each took.
    """

    url: str
    queued: int
    ended: int
    rounds: int
    milliseconds: dict[str, list[float]] = field(default_factory=dict)

    async def run(self) -> None:
        """Measure everything."""
        database = Database.of(self.url)
        try:
            database.migrate()
            await self._fill(database)
            for measure in (_submit, _list, _claim, _work, _turns, _cached):
                await measure(self, database)
        finally:
            await database.close()

    async def time(self, name: str, work: Awaitable[Any]) -> Any:
        """Do something and note how long it took."""
        begun = time.perf_counter()
        answer = await work
        self.milliseconds.setdefault(name, []).append(1000 * (time.perf_counter() - begun))
        return answer

    async def _fill(self, database: Database) -> None:
        def rows(count: int, **members: Any) -> list[dict[str, Any]]:
            return [_row(number, **members) for number in range(count)]

        def insert(connection: Connection) -> None:
            ended = {"state": "succeeded", "ended_s": time.time(), "result": RESULT}
            for each in (rows(self.queued), rows(self.ended, **ended)):
                if each:
                    connection.execute(table.insert(), each)

        await database.write(insert)


def _row(number: int, **members: Any) -> dict[str, Any]:
    created_s = time.time() - 86_400 + number
    return {
        "id": uuid.uuid4().hex, "operation": "cases", "owner": f"owner {number % OWNERS}",
        "priority": 3, "state": "queued", "created_s": created_s, "updated_s": created_s,
        "attempts": 0, "fence": 0, "cancelling": False, "cached": False, "fresh": False,
        "last_event": 0, "fraction": 0.0, "stage": "", "request": REQUEST, "steps": {},
        "ended_s": None, "result": None, **members,
    }  # fmt: skip


async def _submit(bench: Bench, database: Database) -> None:
    """One after the other, then 32 at once; they are taken away again."""
    for clients, name in ((1, "submit"), (32, "submit, 32 clients")):
        made: list[str] = []

        async def client(count: int, name: str = name, made: list[str] = made) -> None:
            for _ in range(count):
                asked = Asked(uuid.uuid4().hex, "cases", REQUEST, "owner 0")
                await bench.time(name, database.write(partial(tickets.submit, asked=asked)))
                made.append(asked.id)

        await asyncio.gather(*(client(bench.rounds // clients) for _ in range(clients)))
        await database.write(
            lambda c, made=made: c.execute(table.delete().where(table.c.id.in_(made)))  # type: ignore[misc]
        )


async def _list(bench: Bench, database: Database) -> None:
    async def page(name: str, **members: Any) -> tuple[list[tickets.Ticket], str | None]:
        work = partial(tickets.page, **{"owner": None, "limit": 50, **members})
        found: tuple[list[tickets.Ticket], str | None] = await bench.time(name, database.read(work))
        return found

    for number in range(bench.rounds):
        mine = f"owner {number % OWNERS}"
        await page("list a page of 50", states=("queued",))
        await page("list a page of 50, of one owner", states=("queued",), owner=mine)
        _, cursor = await page("list a page of 50, in any state", owner=mine)
        found, _ = await page("list the page after it", owner=mine, cursor=cursor)
        waiting = partial(tickets.positions, ids=[ticket.id for ticket in found])
        await bench.time("positions of 50", database.read(waiting))
        position = partial(tickets.position, ticket=found[0])
        await bench.time("position of one", database.read(position))
        await bench.time("figures of the queue", database.read(tickets.queue))


async def _claim(bench: Bench, database: Database) -> None:
    """Each goes back, so that the queue stays as long."""

    async def worker(name: str, holder: str, count: int) -> None:
        claim = partial(tickets.claim, holder=holder, lease_s=LEASE_S, limit=1)
        for _ in range(count):
            [(lease, _)] = await bench.time(name, database.write(claim))
            await database.write(partial(tickets.give_back, lease=lease))

    await worker("claim a ticket", "a", bench.rounds)
    workers = (worker("claim, 8 workers", str(n), bench.rounds // 8) for n in range(8))
    await asyncio.gather(*workers)


async def _work(bench: Bench, database: Database) -> None:
    """What workers write while they work, 16 at once, as one gateway has by default."""
    taken = await database.write(partial(tickets.claim, holder="a", lease_s=LEASE_S, limit=16))
    leases: list[Lease] = [lease for lease, _ in taken]
    event = Event(event="progress", stage="inference/tumor", fraction=0.5, seconds_left=30.0)
    record = partial(tickets.record, events=[event], stage="inference/tumor", fraction=0.5)

    async def worker(lease: Lease) -> None:
        for _ in range(bench.rounds // 16):
            work = database.write(partial(record, lease=lease))
            await bench.time("record an event, 16 tickets at once", work)

    await asyncio.gather(*map(worker, leases))
    beat = partial(tickets.beat, leases=leases, lease_s=LEASE_S)
    ids = [lease.ticket for lease in leases]
    for _ in range(bench.rounds):
        await bench.time("beat for 16 tickets", database.write(beat))
        await bench.time("versions of 16", database.read(partial(tickets.versions, ids=ids)))
    for lease in leases:
        await database.write(partial(tickets.give_back, lease=lease))


async def _turns(bench: Bench, database: Database) -> None:
    """Sixteen wait for one; each asks again."""
    take = partial(
        turns.take, predictor="nnunet", step="s", holder="a", lease_s=LEASE_S, limit=1
    )  # fmt: skip

    async def waiter(number: int) -> None:
        for _ in range(bench.rounds // 16):
            work = partial(take, ticket=str(number), rank=(3, float(number)))
            await bench.time("ask for a turn, 16 waiting", database.write(work))

    await asyncio.gather(*map(waiter, range(16)))


async def _cached(bench: Bench, database: Database) -> None:
    """A ticket that the cache has answered, as 32 clients ask."""

    async def client() -> None:
        for _ in range(bench.rounds // 32):
            asked = Asked(uuid.uuid4().hex, "cases", REQUEST, "owner 0")
            work = partial(tickets.submit_done, asked=asked, result=RESULT, entries=["0" * 64])
            await bench.time("keep a cached answer, 32 clients", database.write(work))

    await asyncio.gather(*(client() for _ in range(32)))


@contextlib.contextmanager
def _urls(given: list[str], folder: str | None) -> Iterator[dict[str, str]]:
    """The databases that are measured, by name."""
    with contextlib.ExitStack() as stack:
        if given:
            yield {sa.make_url(url).get_backend_name(): url for url in given}
            return
        path = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
        found = {f"SQLite {sqlite3.sqlite_version}": f"sqlite:///{path}/gateway.db"}
        why = databases.absent()
        if why is None:
            server = stack.enter_context(databases.postgres(durable=True))
            found[f"PostgreSQL {server.version}"] = server.url
        else:
            sys.stderr.write(f"only SQLite is measured: {why}\n")
        yield found


def _figures(milliseconds: list[float]) -> dict[str, float]:
    hundredths = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return {"median_ms": round(hundredths[49], 2), "p99_ms": round(hundredths[98], 2)}


def _table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """All figures as Markdown; those that miss their goal are bold."""
    kinds = list(found)
    lines = [
        "| median, p99 in ms | " + " | ".join(kinds) + " | goal |",
        "|---" * (len(kinds) + 2) + "|",
    ]
    for name in found[kinds[0]]:
        cells = [found[kind][name] for kind in kinds]
        said = [f"{cell['median_ms']:.1f}, {cell['p99_ms']:.1f}" for cell in cells]
        goal = GOALS.get(name)
        if goal is not None:
            late = [cell["median_ms"] >= goal for cell in cells]
            said = [f"**{s}**" if missed else s for s, missed in zip(said, late, strict=True)]
        lines.append(f"| {name} | {' | '.join(said)} | {f'{goal:.0f}' if goal else ''} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Measure, print a table; 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.tickets", description=__doc__)
    parser.add_argument("--queued", type=int, default=5000, help="tickets that wait")
    parser.add_argument("--ended", type=int, default=20_000, help="tickets kept that have ended")
    parser.add_argument("--rounds", type=int, default=480, help="how often each thing is done")
    parser.add_argument(
        "--url", action="append", default=[], help="an empty database; again for more"
    )
    parser.add_argument("--folder", help="where SQLite's file is made, on the disk to measure")
    parser.add_argument("--json", type=Path, help="machine and figures")
    told = parser.parse_args(arguments)
    found: dict[str, dict[str, dict[str, float]]] = {}
    with _urls(told.url, told.folder) as urls:
        for kind, url in urls.items():
            bench = Bench(url, told.queued, told.ended, told.rounds)
            asyncio.run(bench.run())
            found[kind] = {name: _figures(each) for name, each in bench.milliseconds.items()}
    sys.stdout.write(_table(found) + "\n")
    if told.json:
        machine = {"platform": platform.platform(), "cores": os.cpu_count()}
        asked = {name: getattr(told, name) for name in ("queued", "ended", "rounds")}
        told.json.write_text(json.dumps({"machine": machine, **asked, "figures": found}, indent=1))
    missed = [n for each in found.values() for n, g in GOALS.items() if each[n]["median_ms"] >= g]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
