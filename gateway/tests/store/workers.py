"""What other processes do with a database, as a program: `workers.py DO URL NAME [ARGUMENTS]`.

Each says what it does in lines on standard output, and is held by lines of standard input.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from nephra_contract.errors import Unavailable
from nephra_contract.messages import Event
from nephra_contract.parent import signal_at_parents_end
from nephra_gateway.store import tickets, turns
from nephra_gateway.store.database import Database
from nephra_gateway.store.tickets import Asked, Lease, LeaseLost, Ticket

LEASE_S = 3.0
RESULT = Event(event="result", result={})


def say(*words: object) -> None:
    """Tell the test."""
    print(*words, flush=True)


def heard() -> str:
    """Wait for the test."""
    return sys.stdin.readline().strip()


async def claims(database: Database, name: str) -> None:
    """Claim one ticket after the other until there is none."""
    heard()
    while taken := await database.write(lambda c: tickets.claim(c, name, 60, 1)):
        say(taken[0][0].ticket)


async def takes(database: Database, name: str, folder: str) -> None:
    """Work on all tickets, four at once, each with a turn at a predictor that has one."""
    heard()
    await asyncio.gather(*(_take_all(database, f"{name}{n}", Path(folder)) for n in range(4)))


async def _take_all(database: Database, holder: str, folder: Path) -> None:
    while taken := await database.write(lambda c: tickets.claim(c, holder, 60, 1)):
        lease, ticket = taken[0]
        rank = (ticket.priority, ticket.created_s)
        take = partial(
            turns.take, predictor="gpu", ticket=ticket.id, step="s", holder=holder, rank=rank,
            lease_s=60, limit=1,
        )  # fmt: skip
        while await database.write(take) is not None:
            await asyncio.sleep(0.005)
        try:
            os.close(os.open(folder / "busy", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            say("two at once")
        await asyncio.sleep(0.002)
        (folder / "busy").unlink(missing_ok=True)
        await database.write(
            partial(turns.give, predictor="gpu", ticket=ticket.id, step="s", holder=holder)
        )
        await database.write(partial(tickets.finish, lease=lease, state="succeeded"))
        say(ticket.id)


async def freezes(database: Database, name: str) -> None:
    """Claim a ticket for a moment, and write to it when told."""
    [(lease, _)] = await database.write(lambda c: tickets.claim(c, name, 0.3, 1))
    say(lease.ticket)
    heard()
    for work in (
        partial(tickets.record, lease=lease, events=[RESULT], stage="late"),
        partial(tickets.finish, lease=lease, state="succeeded", events=[RESULT], entries=["e"]),
        partial(tickets.give_back, lease=lease),
    ):
        try:
            await database.write(work)
            say("written")
        except LeaseLost:
            say("lost")
    say((await database.write(lambda c: tickets.beat(c, [lease], 60)))[lease.ticket])


async def begins(database: Database, name: str, ticket: str) -> None:
    """Be in the middle of a change when told to wait."""

    def change(connection: Connection) -> None:
        tickets.cancel(connection, ticket)
        say("inside")
        heard()

    try:
        await database.write(change)
        say("written")
    except Unavailable as error:
        say(error.code)


async def endures(database: Database, name: str, count: str) -> None:
    """Submit and finish tickets, whatever happens to the database."""
    finished = 0
    for number in range(int(count)):
        asked = Asked(f"{name}{number:031d}", "o", {}, "me", idempotency_key=f"{name}{number}")
        await _until_done(database, partial(tickets.submit, asked=asked))
        for lease, _ in await _claimed(database, name):
            try:
                await _until_done(
                    database,
                    partial(tickets.finish, lease=lease, state="succeeded", events=[RESULT]),
                )
            except LeaseLost:
                pass  # it was in the database; only the word of it was lost
            finished += 1
            say(finished)
    say("done")


async def _claimed(database: Database, name: str) -> list[tuple[Lease, Ticket]]:
    found: list[tuple[Lease, Ticket]] = []
    while not found:  # a claim whose answer was lost lapses
        found = await _until_done(
            database, partial(tickets.claim, holder=name, lease_s=0.2, limit=1, max_attempts=9)
        )
    return found


async def _until_done(database: Database, work: Callable[[Connection], Any]) -> Any:
    while True:
        try:
            return await database.write(work)
        except Unavailable:
            await asyncio.sleep(0.05)


async def fills(database: Database, name: str, limit_bytes: str) -> None:
    """Submit until the disk is full, make room, and go on."""
    big = {"request": "x" * 100_000}
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if int(limit_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), resource.RLIM_INFINITY))
    for number in range(200):
        asked = Asked(f"{number:032d}", "o", big, "me")
        try:
            await database.write(partial(tickets.submit, asked=asked))
        except Unavailable as error:
            say(error.code, error.detail)
            break
    together = [Asked(f"f{n:031d}", "o", big, "me") for n in range(5)]
    work = [database.write(partial(tickets.submit, asked=asked)) for asked in together]
    found = await asyncio.gather(*work, return_exceptions=True)
    say(*(type(each).__name__ for each in found))
    say(number, (await database.read(tickets.queue)).queued)
    if int(limit_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    else:
        Path(name).unlink()
    await database.write(partial(tickets.submit, asked=Asked("e" * 32, "o", big, "me")))
    say("works again", (await database.read(tickets.queue)).queued)


async def main(do: str, url: str, *arguments: str) -> None:
    """Do one of them."""
    database = Database.of(url)
    try:
        await globals()[do](database, *arguments)
    finally:
        await database.close()


if __name__ == "__main__":
    signal_at_parents_end(signal.SIGKILL)
    asyncio.run(main(*sys.argv[1:]))
