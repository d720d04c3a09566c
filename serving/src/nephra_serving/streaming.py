"""Progress on the same connection: one JSON event a line, the last one is the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from nephra_contract.messages import Event, Problem
from nephra_contract.progress import Progress
from nephra_serving.calls import Call
from nephra_serving.defects import ours

MEDIA_TYPE = "application/x-ndjson"

#: Progress is said at most this often; a new stage is said at once.
INTERVAL_S = 0.25

Clock = Callable[[], float]


@dataclass
class Throttle:
    """Passes on so much progress as a person can follow, and never a step back.

    Args:
        interval_s: between two events of one stage.
        clock: monotonic seconds.
    """

    interval_s: float = INTERVAL_S
    clock: Clock = time.monotonic
    fraction: float = 0.0
    stage: str = ""
    _last_s: float = field(default=float("-inf"), repr=False)

    def admit(self, fraction: float, stage: str) -> Event | None:
        """The event to send, or None if one was sent a moment ago."""
        now = self.clock()
        fresh = bool(stage) and stage != self.stage
        if not fresh and fraction < 1 and now - self._last_s < self.interval_s:
            return None
        self.fraction, self.stage, self._last_s = (
            max(fraction, self.fraction),
            stage or self.stage,
            now,
        )
        return self.again()

    def again(self) -> Event:
        """Where things stand: the heartbeat."""
        return Event(event="progress", stage=self.stage, fraction=round(self.fraction, 4))


async def stream(
    work: Callable[[Progress], Awaitable[dict[str, Any]]], call: Call, heartbeat_s: float
) -> AsyncIterator[bytes]:
    """Run work and give its events as lines of NDJSON.

    Args:
        work: to be given the progress; what it returns is the result.
        call: cancelled when the reader goes away.
        heartbeat_s: the longest silence.
    """
    loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()
    throttle = Throttle()

    def post(event: Event) -> None:
        # The reader, and with it the loop, may be gone while the thread still finishes.
        if not loop.is_closed():
            loop.call_soon_threadsafe(events.put_nowait, event)

    def report(fraction: float, stage: str) -> None:
        event = throttle.admit(fraction, stage)
        if event is not None:
            post(event)

    def artifact(kind: str, detail: dict[str, object]) -> None:
        post(Event(event="artifact", stage=kind, artifact=detail))

    progress = Progress(report=report, stop=call.stop, artifact=artifact)
    task = asyncio.create_task(_last(work, progress, events))
    try:
        while True:
            try:
                event = await asyncio.wait_for(events.get(), heartbeat_s)
            except TimeoutError:
                event = throttle.again()
            yield event.line()
            if event.event in ("result", "problem"):
                return
    finally:
        call.cancel()
        task.cancel()


async def _last(
    work: Callable[[Progress], Awaitable[dict[str, Any]]],
    progress: Progress,
    events: asyncio.Queue[Event],
) -> None:
    """Run the work; its end, whatever it is, becomes the last event."""
    try:
        last = Event(event="result", fraction=1.0, result=await work(progress))
    except Exception as error:  # noqa: BLE001  the status is sent already: a problem is an event
        last = Event(event="problem", problem=Problem.of(ours(error)).model_dump(mode="json"))
    await events.put(last)
