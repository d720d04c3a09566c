"""Uvicorn as the gateway uses it: where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
from types import FrameType

import uvicorn

from nephra_contract import logs, traces
from nephra_contract.parent import end_with_parent
from nephra_gateway.app import create
from nephra_gateway.border import Border
from nephra_gateway.ending import Ending
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.tracing import Traced

#: The event loop and the threads of the database want the interpreter in turns, many times for
#: each request. With Python's default of 5 ms every one of them may wait that long.
_SWITCH_S = 0.001

#: What cancelled requests have to clean up, after the time that they had to end.
_CLEANING_S = 10


def serve() -> int:
    """Serve until SIGTERM or SIGINT; gives the process's exit status."""
    end_traces = traces.begin("gateway")
    try:
        settings = GatewaySettings()
        if settings.exit_with_parent:
            end_with_parent()
        ending = Ending()
        app = create(settings, ending)
    except ValueError as error:
        logs.line("cannot start", why=str(error))
        return 2
    sys.setswitchinterval(_SWITCH_S)
    server = GatewayServer(configuration(app, settings), settings.drain_s, ending)
    try:
        server.run()
    finally:
        end_traces()
    return 0 if server.started else 1


def configuration(app: Border, settings: GatewaySettings) -> uvicorn.Config:
    """Uvicorn's settings."""
    return uvicorn.Config(
        Traced(app),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=math.ceil(settings.drain_s) + _CLEANING_S,
    )


class GatewayServer(uvicorn.Server):
    """Uvicorn that says in the log where it listens, and ends with 0 when it is told to end.

    Told to end, it takes no more connections, lets requests that run go on for a while, then has
    them cancelled; it ends as soon as none is left.

    Args:
        config: Uvicorn's own.
        drain_s: how long requests may go on.
        ending: of the gateway.
    """

    def __init__(self, config: uvicorn.Config, drain_s: float, ending: Ending) -> None:
        super().__init__(config)
        self._drain_s = drain_s
        self._ending = ending
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: object = None) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            logs.line("listening", host=host, port=port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; Uvicorn's own would raise the signal again, and kill the process with it."""
        del frame
        if self._loop is not None and not self.should_exit:
            self._loop.call_soon_threadsafe(self._end, self._loop)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ending.begun.set()
        loop.call_later(self._drain_s, self._ending.over.set)
