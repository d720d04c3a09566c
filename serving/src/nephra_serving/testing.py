"""For tests of predictors: a real server, in a thread, on a port of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nephra_contract.execution import Runner
from nephra_serving.server import Server
from nephra_serving.settings import ServingSettings

_PATIENCE_S = 60.0


@contextmanager
def served(
    predictor: str, runner: Runner, settings: ServingSettings | None = None, port: int = 0
) -> Iterator[str]:
    """Serve a runner on loopback while the block runs, on a free port; yields the URL."""
    chosen = (settings or ServingSettings()).model_copy(update={"host": "127.0.0.1", "port": port})
    server = Server(predictor, runner, chosen)
    thread = threading.Thread(target=lambda: asyncio.run(server.rest.start()), daemon=True)
    thread.start()
    try:
        yield server.rest.listening(_PATIENCE_S)
    finally:
        server.rest.end()
        thread.join(_PATIENCE_S)
        server.work.join(_PATIENCE_S)
