"""For tests of predictors: a real server, in a thread, on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nephra_contract.execution import Runner
from nephra_serving.hands import Hands, Hire
from nephra_serving.server import Server
from nephra_serving.settings import ServingSettings
from nephra_serving.wire import Wire
from nephra_serving.worker import Desk

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class _Thread:
    """The life of a worker that is a thread."""

    end: socket.socket
    thread: threading.Thread

    def kill(self) -> None:
        try:
            self.end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already

    def bury(self) -> str:
        self.thread.join(_PATIENCE_S)
        self.end.close()
        return "thread"


def in_thread(runner: Runner, stop_s: float = _PATIENCE_S) -> Hire:
    """Workers as threads of this process, where tests can look into what they do."""

    async def hire() -> Hands:
        ours, theirs = socket.socketpair()
        desk = Desk(Wire(theirs), gone=lambda: None)

        def work() -> None:
            threading.Thread(target=desk.listen, daemon=True).start()
            desk.serve(lambda: runner)

        thread = threading.Thread(target=work, name="nephra-worker", daemon=True)
        thread.start()
        reader, writer = await asyncio.open_connection(sock=ours)
        return Hands(reader, writer, _Thread(theirs, thread), stop_s)

    return hire


@contextmanager
def served(
    predictor: str, runner: Runner, settings: ServingSettings | None = None, port: int = 0
) -> Iterator[str]:
    """Serve a runner on loopback while the block runs, on a free port; yields the URL."""
    chosen = (settings or ServingSettings()).model_copy(update={"host": "127.0.0.1", "port": port})
    server = Server(predictor, in_thread(runner), chosen)
    thread = threading.Thread(target=lambda: asyncio.run(server.rest.start()), daemon=True)
    thread.start()
    try:
        url = server.rest.listening(_PATIENCE_S)
        if not server.ready.wait(_PATIENCE_S):
            raise TimeoutError("the runner is not ready")
        yield url
    finally:
        server.rest.end()
        thread.join(_PATIENCE_S)
