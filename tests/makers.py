"""Askers of a cache, with a maker that publishes real results; also as a program.

It reads lines `[URL, DATA, COUNT]` and forks a process for each, whose number it writes. That asks
COUNT times at once for one thing, and writes what was given into the data root's file
`given-<number>`. Each run of a maker writes a line into the file `runs`, and waits for `go`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nephra_contract.execution import Origin, publish
from nephra_contract.fences import open_ticket
from nephra_contract.nifti import write_labels
from nephra_contract.operation import Common, NoParameters, Outcome, Request
from nephra_contract.paths import DataRoot
from nephra_contract.results import new_ticket, write_json
from nephra_contract.volume import LabelMap
from nephra_gateway.cache import Cache, Done, Made
from nephra_gateway.content import Contents
from nephra_gateway.figures import Figures
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.store import tickets
from nephra_gateway.store.database import Database
from nephra_gateway.store.tickets import Asked

KEY = "k" * 64
OPERATION = "postprocess/toy"
INPUT = "mask.nii.gz"

#: Bounded, so that a program that lost its way ends.
_WAITS = 12_000


def labels(value: int = 1) -> LabelMap:
    """A small mask."""
    return LabelMap(np.full((4, 4, 4), value, dtype=np.uint8), np.eye(4))


def prepare(data: DataRoot) -> None:
    """Put the input into a data root."""
    write_labels(data.root / INPUT, labels())


def result(
    data: DataRoot, ticket: str, operation: str = OPERATION, value: int = 2, **common: Any
) -> dict[str, Any]:
    """Make a result, as a predictor would, and give its answer."""
    origin = Origin(operation, "1", {"mask_path": [data.file(INPUT)]}, {})
    request = Request(
        {"mask_path": [INPUT]}, NoParameters(), "nephra", Common(ticket=ticket, step="", **common)
    )
    answer = publish(origin, Outcome(labels(value), {"value": value}), request, data, {})
    return answer.model_dump(mode="json")


@asynccontextmanager
async def opened(
    url: str, data: DataRoot, lease_s: float = 15, **settings: Any
) -> AsyncIterator[Cache]:
    """A cache at work."""
    told = GatewaySettings(data=data.root, database=url, lease_s=lease_s, **settings)
    database, contents = Database.of(url), Contents(data)
    cache = Cache(database, data, contents, told, Figures())
    await cache.start()
    try:
        yield cache
    finally:
        await cache.close()
        await contents.close()
        await database.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(_WAITS):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never became so")


async def submitted(cache: Cache, data: DataRoot) -> str:
    """A ticket that is in the database, with its folder."""
    ticket = new_ticket()
    asked = Asked(ticket, OPERATION, {}, "anyone")
    await cache.database.write(lambda c: tickets.submit(c, asked))
    await asyncio.to_thread(open_ticket, data, ticket)
    return ticket


async def ask(
    cache: Cache,
    data: DataRoot,
    run: Callable[[str], Any],
    *,
    key: str | None = KEY,
    fresh: bool = False,
    ticket: str | None = None,
) -> Made:
    """Ask for one thing with a ticket of one's own.

    Args:
        cache: that is asked.
        data: the data root.
        run: makes it: awaited with the ticket; gives the answer.
        key: by which it is found.
        fresh: what is there is not taken.
        ticket: that asks, if there is one.
    """
    home = ticket or await submitted(cache, data)
    given: dict[str, Made] = {}

    async def make(parts: Sequence[str], done: Done) -> None:
        assert list(parts) == [""]
        await done("", await run(home), 2.5)

    async def give(part: str, made: Made) -> None:
        assert part not in given
        given[part] = made

    content = await cache.contents.of(INPUT)
    assert content is not None
    inputs = {"": {"mask_path": [content.file], "bundle": [], "version": ["1"]}}
    await cache.once({"": key}, home, make, give, fresh=fresh, inputs=inputs)
    return given[""]


async def _main(url: str, data: DataRoot, count: int) -> None:
    async def run(ticket: str) -> dict[str, Any]:
        with (data.root / "runs").open("a") as runs:
            runs.write(f"{os.getpid()}\n")
        await until((data.root / "go").exists)
        return await asyncio.to_thread(result, data, ticket)

    async with opened(url, data, lease_s=1) as cache:
        made = await asyncio.gather(*(ask(cache, data, run) for _ in range(count)))
    said = [{"path": m.answer["mask_path"], "entry": m.entry, "cached": m.cached} for m in made]
    write_json(data.root / f"given-{os.getpid()}", {"given": said})


def _fork(url: str, data: str, count: int) -> int:
    """Ask in a process of its own; gives its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(_main(url, DataRoot(Path(data)), count))
            code = 0
        finally:
            os._exit(code)
    return child


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        sys.stdout.write(f"{_fork(*json.loads(line))}\n")
        sys.stdout.flush()
