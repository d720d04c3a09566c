"""Progress on the same connection: one JSON event a line, the last one is the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from nephra_contract.messages import Event, Problem
from nephra_serving.calls import Call
from nephra_serving.defects import ours
from nephra_serving.hands import Listen

MEDIA_TYPE = "application/x-ndjson"

#: Work that is given where to send its events.
Work = Callable[[Listen], Awaitable[dict[str, Any]]]


async def stream(work: Work, call: Call, heartbeat_s: float) -> AsyncIterator[bytes]:
    """Run work and give its events as lines of NDJSON.

    Args:
        work: what it returns is the result.
        call: cancelled when the reader goes away.
        heartbeat_s: the longest silence; then the last progress is said again.
    """
    events = asyncio.Queue[Event]()
    progress = Event(event="progress", fraction=0.0)
    task = asyncio.create_task(_last(work, events))
    try:
        while True:
            try:
                event = await asyncio.wait_for(events.get(), heartbeat_s)
            except TimeoutError:
                event = progress
            if event.event == "progress":
                progress = event
            yield event.line()
            if event.event in ("result", "problem"):
                return
    finally:
        call.cancel()
        task.cancel()


async def _last(work: Work, events: asyncio.Queue[Event]) -> None:
    """Run the work; its end, whatever it is, becomes the last event."""
    try:
        last = Event(event="result", fraction=1.0, result=await work(events.put_nowait))
    except Exception as error:  # noqa: BLE001  the status is sent already: a problem is an event
        last = Event(event="problem", problem=Problem.of(ours(error)).model_dump(mode="json"))
    await events.put(last)
