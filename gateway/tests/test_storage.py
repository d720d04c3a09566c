"""The data root as the gateway sees it: how it is, and what others have left there."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from nephra_contract.paths import DataRoot
from nephra_gateway.figures import Figures
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
