"""Among processes too, what is asked many times is made once, whoever dies or freezes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import databases
import makers
from nephra_contract.paths import DataRoot
from nephra_gateway.store.cache_schema import cache_claims, cache_entries

_PATIENCE_STEPS = 6000


class Askers:
    """Processes that ask for the same thing."""

    def __init__(self, program: subprocess.Popen[str], url: str, data: DataRoot) -> None:
        self.data = data
        self._program = program
        self._url = url
        self._all: list[int] = []

    def start(self, count: int) -> int:
        """One that asks so often at once; gives its number."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps([self._url, str(self.data.root), count]) + "\n")
        self._program.stdin.flush()
        self._all.append(int(self._program.stdout.readline()))
        return self._all[-1]

    @property
    def runs(self) -> list[int]:
        """Which process has begun to make it, each time that one did."""
        runs = self.data.root / "runs"
        return [int(line) for line in runs.read_text().split()] if runs.exists() else []

    def go(self) -> None:
        """Let all makers finish."""
        (self.data.root / "go").touch()

    def given(self, number: int) -> list[dict[str, Any]]:
        """What a process was given."""
        path = self.data.root / f"given-{number}"
        until(path.exists)
        found: list[dict[str, Any]] = json.loads(path.read_text())["given"]
        return found

    def end(self) -> None:
        """End all."""
        for number in self._all:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(_PATIENCE_STEPS):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never became so")


@pytest.fixture(scope="module")
def program() -> Iterator[subprocess.Popen[str]]:
    """Forks processes that ask, having loaded all that they need."""
    command = [sys.executable, makers.__file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate()


@pytest.fixture
def askers(program: subprocess.Popen[str], database_url: str, tmp_path: Path) -> Iterator[Askers]:
    """Processes on each kind of database; all are ended."""
    folder = tmp_path / "data"
    folder.mkdir()
    data = DataRoot(folder)
    makers.prepare(data)
    found = Askers(program, database_url, data)
    yield found
    found.end()


def count(asker: databases.Asker, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
    """Rows of a table."""
    query = sa.select(sa.func.count()).select_from(table).where(*where)
    return int(asker.read(lambda c: c.execute(query).scalar_one()))


def test_a_hundred_askers_in_two_processes_share_one_run(
    askers: Askers, asker: databases.Asker
) -> None:
    """One of them makes it, all have it."""
    processes = [askers.start(50), askers.start(50)]
    until(lambda: len(askers.runs) > 0)
    waiting = sa.select(sa.func.count()).select_from(sa.text("tickets"))
    until(lambda: asker.read(lambda c: c.execute(waiting).scalar_one()) == 100)
    askers.go()
    given = [made for process in processes for made in askers.given(process)]
    assert len(askers.runs) == 1
    assert len(given) == 100
    assert len({(made["path"], made["entry"]) for made in given}) == 1
    assert sum(not made["cached"] for made in given) == 1
    assert count(asker, cache_entries) == 1
    assert count(asker, cache_claims) == 0


def test_when_the_maker_is_killed_exactly_one_other_takes_over(
    askers: Askers, asker: databases.Asker
) -> None:
    """After its lease has passed; of two processes that wait with ten askers each."""
    maker = askers.start(1)
    until(lambda: askers.runs == [maker])
    others = [askers.start(10), askers.start(10)]
    waiting = sa.select(sa.func.count()).select_from(sa.text("tickets"))
    until(lambda: asker.read(lambda c: c.execute(waiting).scalar_one()) == 21)
    os.kill(maker, signal.SIGKILL)
    until(lambda: len(askers.runs) > 1)
    askers.go()
    given = [made for process in others for made in askers.given(process)]
    assert len(askers.runs) == 2
    assert askers.runs[1] in others
    assert len({made["entry"] for made in given}) == 1
    assert sum(not made["cached"] for made in given) == 1
    assert count(asker, cache_entries) == 1


def test_a_maker_that_was_frozen_for_too_long_registers_nothing(
    askers: Askers, asker: databases.Asker
) -> None:
    """Another has taken over; there is one result, and it is the other's."""
    frozen = askers.start(1)
    until(lambda: askers.runs == [frozen])
    os.kill(frozen, signal.SIGSTOP)
    other = askers.start(1)
    until(lambda: askers.runs == [frozen, other])
    askers.go()
    (made,) = askers.given(other)
    os.kill(frozen, signal.SIGCONT)
    (late,) = askers.given(frozen)
    assert made["entry"] is not None
    assert late["entry"] is None
    assert late["path"] != made["path"]
    assert count(asker, cache_entries) == 1
    assert count(asker, cache_entries, cache_entries.c.id == made["entry"]) == 1


def test_a_maker_that_was_frozen_while_nobody_else_asked_goes_on(
    askers: Askers, asker: databases.Asker
) -> None:
    """What nobody has taken over is still its own."""
    frozen = askers.start(1)
    until(lambda: askers.runs == [frozen])
    os.kill(frozen, signal.SIGSTOP)
    passed = cache_claims.c.until_s < sa.bindparam("now")
    query = sa.select(sa.func.count()).select_from(cache_claims).where(passed)

    def lapsed() -> bool:
        from nephra_gateway.store.database import now_s

        return asker.read(lambda c: c.execute(query, {"now": now_s(c)}).scalar_one()) == 1

    until(lapsed)
    askers.go()
    os.kill(frozen, signal.SIGCONT)
    (made,) = askers.given(frozen)
    assert made["entry"] is not None
    assert count(asker, cache_entries) == 1


def test_a_failure_reaches_those_who_wait_in_another_process(
    database_url: str, askers: Askers
) -> None:
    """With its problem; and who asks afterwards makes it anew."""
    from nephra_contract.errors import NephraError, Unprocessable

    async def main() -> None:
        data, held, begun = askers.data, asyncio.Event(), asyncio.Event()

        async def fail(ticket: str) -> dict[str, Any]:
            begun.set()
            await held.wait()
            raise Unprocessable("The toy fails.", "Mend it.", code="toy_failed")

        async def never(ticket: str) -> dict[str, Any]:
            raise AssertionError

        async def make(ticket: str) -> dict[str, Any]:
            return makers.result(data, ticket)

        async with (
            makers.opened(database_url, data) as one,
            makers.opened(database_url, data) as other,
        ):
            making = asyncio.ensure_future(makers.ask(one, data, fail))
            await begun.wait()
            waiting = asyncio.ensure_future(makers.ask(other, data, never))
            await makers.until(lambda: other.flights.waiting == 1)
            held.set()
            found = await asyncio.gather(making, waiting, return_exceptions=True)
            assert all(isinstance(error, NephraError) for error in found)
            assert {getattr(error, "code", None) for error in found} == {"toy_failed"}
            assert not (await makers.ask(other, data, make)).cached
            assert (await makers.ask(one, data, never)).cached

    asyncio.run(main())
