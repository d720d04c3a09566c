"""What is said between a server and its worker at the worst of moments."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from nephra_contract.errors import Cancelled
from nephra_contract.messages import Event
from nephra_serving import work
from nephra_serving.calls import Call
from nephra_serving.hands import Hands
from nephra_serving.wire import Said, Wire, from_error
from nephra_serving.work import Job, Workers

EVENT = Event(event="progress", stage="at it", fraction=0.5).model_dump_json()


class Puppet:
    """A worker whose every word a test says for it; killing it takes a word of its own."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.end, self.theirs, self.wire = ours, theirs, Wire(theirs)
        self.killed: list[Said] = []

    def kill(self) -> None:
        """Say what it still says; it is gone when it is buried."""
        while self.killed:
            self.wire.send(self.killed.pop(0))

    def bury(self) -> str:
        """End it, and whoever waits for its orders."""
        with suppress(OSError):  # it has ended already
            self.theirs.shutdown(socket.SHUT_RDWR)
        self.wire.close()
        return "puppet"


class Stage:
    """Workers of which each is the next puppet.

    Args:
        puppets: as many as are hired.
        stop_s: see `Hands`.
    """

    def __init__(self, *puppets: Puppet, stop_s: float = 60.0) -> None:
        self._puppets, self._left = puppets, list(puppets)
        self._stop_s = stop_s
        self.workers = Workers(self._hire, 1, lambda _: None, lambda: None)

    async def _hire(self) -> Hands:
        puppet = self._left.pop(0)
        reader, writer = await asyncio.open_connection(sock=puppet.end)
        puppet.wire.send({"operations": [], "bundles": []})
        return Hands(reader, writer, puppet, self._stop_s)

    def job(self, listen: Callable[[Event], None] = lambda _: None) -> Job:
        """A piece of work."""
        return Job("toy/keep", "keep", [{}], Call(), listen)

    async def play(self, scene: Awaitable[None]) -> None:
        """Let workers work while a scene is played."""
        self.workers.begin()
        try:
            async with asyncio.timeout(20):
                await scene
        finally:
            await self.workers.close(0)
            for puppet in self._puppets:
                puppet.bury()


async def orders(puppet: Puppet) -> Said | None:
    """What a puppet is told next."""
    return await asyncio.to_thread(puppet.wire.receive)


def test_who_is_dismissed_is_given_no_more_work() -> None:
    """Its last word may come before its end; the next one's work goes to its successor."""
    stuck, successor = Puppet(), Puppet()
    stage = Stage(stuck, successor, stop_s=0)
    stuck.killed = [from_error(Cancelled("Stopped.", "Send it again."))]

    async def scene() -> None:
        first, second = stage.job(), stage.job()
        running = asyncio.create_task(stage.workers.run(first))
        assert "run" in (await orders(stuck) or {})
        waiting = asyncio.create_task(stage.workers.run(second))
        first.call.cancel()
        with pytest.raises(Cancelled):
            await running
        assert "run" in (await orders(successor) or {})
        successor.wire.send({"answers": [{"of": "second"}]})
        assert await waiting == [{"of": "second"}]

    asyncio.run(stage.play(scene()))


def test_an_answer_that_nobody_heard_is_not_given_to_somebody_else() -> None:
    """Whatever goes wrong while a worker is listened to: what it still says is of no use."""
    worker, successor = Puppet(), Puppet()
    stage = Stage(worker, successor)

    def fail(event: Event) -> None:
        raise RuntimeError(event.stage)

    async def scene() -> None:
        running = asyncio.create_task(stage.workers.run(stage.job(fail)))
        await orders(worker)
        waiting = asyncio.create_task(stage.workers.run(stage.job()))
        worker.wire.send({"event": EVENT})
        worker.wire.send({"answers": [{"of": "first"}]})
        with pytest.raises(Exception, match="nephra failed"):
            await running
        await orders(successor)
        successor.wire.send({"answers": [{"of": "second"}]})
        assert await waiting == [{"of": "second"}]

    asyncio.run(stage.play(scene()))


def test_workers_that_die_at_every_start_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is told, so that Kubernetes shows it instead of one that is never ready."""
    monkeypatch.setattr(work, "PAUSE_S", 0)
    puppets = [Puppet() for _ in range(work.ATTEMPTS + 1)]
    told: list[str] = []

    async def hire() -> Hands:
        puppet = puppets.pop()
        reader, writer = await asyncio.open_connection(sock=puppet.end)
        puppet.bury()
        return Hands(reader, writer, puppet, 60)

    async def scene() -> None:
        given_up = asyncio.Event()
        workers = Workers(hire, 1, lambda _: told.append("welcome"), given_up.set)
        workers.begin()
        async with asyncio.timeout(20):
            await given_up.wait()
        await workers.close(0)
        assert workers.failure is not None
        assert workers.failure.code == "worker_lost"
        assert "puppet" in workers.failure.detail

    asyncio.run(scene())
    assert told == []
    (unused,) = puppets
    unused.bury()
    unused.end.close()
