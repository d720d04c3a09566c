"""A worker as the server sees it: started, given work, stopped, killed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nephra_contract import logs
from nephra_contract.messages import BundleDescription, Event, OperationDescription
from nephra_serving.wire import Said, pack, receive, to_error

if TYPE_CHECKING:
    from nephra_serving.calls import Call

Listen = Callable[[Event], None]


class Lost(Exception):
    """The worker ended in the midst of something; says how."""


@dataclass(frozen=True)
class Offer:
    """What a worker can do."""

    operations: list[OperationDescription]
    bundles: list[BundleDescription]


class Life(Protocol):
    """What keeps a worker alive: a process, or in tests a thread."""

    def kill(self) -> None:
        """End it now, wherever it is."""
        ...

    def bury(self) -> str:
        """Wait until it has ended; gives how it did."""
        ...


class Hands:
    """One worker.

    Args:
        reader, writer: the server's end of the wire.
        life: ends it.
        stop_s: how long work that was told to stop may take before the worker is killed.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        life: Life,
        stop_s: float,
    ) -> None:
        self._writer = writer
        self._life = life
        self._stop_s = stop_s
        self._heard: asyncio.Queue[Said | None] = asyncio.Queue()
        self._count = 0
        #: Set when the worker is no more.
        self.gone = asyncio.Event()
        #: Whether it was killed by its server; it is given no more work then.
        self.dismissed = False
        self._hearing = asyncio.create_task(self._hear(reader))

    async def greet(self) -> Offer:
        """Wait until it has loaded what it needs.

        Raises:
            NephraError: it says that it cannot.
            Lost: it ended.
        """
        said = await self._next()
        if "problem" in said:
            raise to_error(said)
        return Offer(
            [OperationDescription.model_validate(o) for o in said["operations"]],
            [BundleDescription.model_validate(b) for b in said["bundles"]],
        )

    async def work(
        self, model: str, instances: list[dict[str, Any]], call: Call, listen: Listen
    ) -> list[Said]:
        """Have work done; gives an answer for each instance.

        Raises:
            NephraError: whatever went wrong, said for the caller.
            Lost: it ended, by itself or because it did not stop in time.
        """
        self._count += 1
        order = {"run": self._count, "model": model, "instances": instances}
        self._say({**order, "about": call.members})
        stopping = asyncio.create_task(self._stop(call, self._count))
        try:
            while "event" in (said := await self._next()):
                listen(Event.model_validate_json(said["event"]))
        except Exception:
            # What it still says must not be taken for the answer to somebody else's work.
            self._dismiss()
            raise
        finally:
            stopping.cancel()
        if "problem" in said:
            raise to_error(said)
        answers: list[Said] = said["answers"]
        return answers

    async def end(self) -> str:
        """End it, if it has not ended; gives how it did."""
        self._life.kill()
        self._hearing.cancel()
        self._writer.close()
        how = await asyncio.to_thread(self._life.bury)
        with suppress(OSError):
            await self._writer.wait_closed()
        return how

    async def _stop(self, call: Call, number: int) -> None:
        """Tell it to stop as soon as nobody wants the work; then it has so long to do so."""
        await call.stopped.wait()
        self._say({"stop": number})
        await asyncio.sleep(self._stop_s)
        logs.line("work does not stop: its worker is killed", logging.WARNING, **call.members)
        self._dismiss()

    def _dismiss(self) -> None:
        self.dismissed = self.dismissed or not self.gone.is_set()
        self._life.kill()

    def _say(self, said: Said) -> None:
        if not self.gone.is_set():
            self._writer.write(pack(said))

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        while (said := await receive(reader)) is not None:
            self._heard.put_nowait(said)
        self.gone.set()
        self._heard.put_nowait(None)

    async def _next(self) -> Said:
        said = await self._heard.get()
        if said is None:
            raise Lost
        return said


Hire = Callable[[], Awaitable[Hands]]


@dataclass
class Post:
    """Starts workers as processes of their own.

    To be used in a thread that lives as long as the server: the kernel ends a worker together
    with the thread that started it.

    Args:
        predictor: the service's name, for the log.
        build: where a worker finds what makes its runner; see `nephra_serving.worker.refer`.
        data: the data root.
        stop_s: see `Hands`.
    """

    predictor: str
    build: dict[str, str]
    data: Path
    stop_s: float
    _prepared: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def prepare(self) -> None:
        """Start the first worker before it is asked for: it loads while the server does."""
        self._prepared = self._start()

    async def __call__(self) -> Hands:
        """Start a worker."""
        process, end = self._prepared or self._start()
        self._prepared = None
        reader, writer = await asyncio.open_connection(sock=end)
        return Hands(reader, writer, _Process(process), self.stop_s)

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            handle = theirs.fileno()
            # Nothing else is inherited, listening sockets least of all.
            process = subprocess.Popen(  # noqa: S603  ourselves
                [sys.executable, "-m", "nephra_serving.worker", str(handle)],
                stdin=subprocess.DEVNULL,
                pass_fds=[handle],
            )
        told = {
            "server": os.getpid(),
            "predictor": self.predictor,
            "path": sys.path,
            "build": self.build,
            "data": str(self.data),
        }
        with suppress(OSError):  # it has died already, which whoever listens to it will find
            ours.sendall(pack(told))
        return process, ours


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()

    def bury(self) -> str:
        status = self.process.wait()
        return signal.Signals(-status).name if status < 0 else f"status {status}"
