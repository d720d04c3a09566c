"""The data root as the gateway sees it: how it is, and what others have left there."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

from nephra_contract.paths import DataRoot
from nephra_contract.results import open_ticket
from nephra_gateway.figures import Figures
from nephra_gateway.retries import longest_s
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.storage import Storage

#: More than the event loop has threads, whatever the machine.
_MANY = 64


def test_a_busy_gateway_is_healthy(tmp_path: Path) -> None:
    """Checksums of many large images at once do not make its data root look lost."""

    async def check() -> None:
        go = threading.Event()
        busy = [asyncio.create_task(asyncio.to_thread(go.wait, 60)) for _ in range(_MANY)]
        try:
            await Storage(DataRoot(tmp_path), Figures()).check()
            assert not any(one.done() for one in busy)
        finally:
            go.set()
            await asyncio.gather(*busy)

    asyncio.run(check())


def test_a_gateway_closes_what_a_killed_one_has_left(start: Any, tmp_path: Path) -> None:
    """When it starts; tickets that may still be alive stay open."""
    data, old, young = DataRoot(tmp_path), "a" * 32, "b" * 32
    settings = GatewaySettings(data=tmp_path, predictors={}, auth="none")
    for ticket in (old, young):
        open_ticket(data, ticket)
    then = tmp_path.stat().st_mtime - 2 * longest_s(settings.operation_s, settings.retry_s)
    os.utime(tmp_path / "results" / old / ".work-0", (then, then))
    pause = threading.Event()
    with start(settings):
        for _ in range(6000):
            if not (tmp_path / "results" / old).exists():
                break
            pause.wait(0.01)
    assert [p.name for p in (tmp_path / "results").iterdir()] == [young]
    assert (tmp_path / "results" / young / ".work-0").is_dir()
