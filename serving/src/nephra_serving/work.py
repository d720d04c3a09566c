"""Work in order: it waits for a worker, is done, and a worker that is lost is replaced."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nephra_contract import logs
from nephra_contract.errors import Cancelled, NephraError, Unavailable
from nephra_serving.calls import Call
from nephra_serving.defects import ours
from nephra_serving.hands import Hands, Hire, Listen, Lost, Offer
from nephra_serving.metrics import metrics
from nephra_serving.wire import Said

#: So many workers may end while they start, one after the other, before the server gives up.
ATTEMPTS = 5
#: The pause before the second attempt; each further one is twice as long.
PAUSE_S = 0.25


class WorkerLost(Unavailable):
    """The worker ended in the midst of the work."""

    default_code = "worker_lost"
    title = "The work was lost"
    retry_after_s = 1


@dataclass(eq=False)
class Job:
    """One piece of work.

    Args:
        operation: its name.
        model: its KServe model.
        instances: what to do.
        call: the request that it comes from.
        listen: receives progress and artifacts.
    """

    operation: str
    model: str
    instances: list[dict[str, Any]]
    call: Call
    listen: Listen
    answers: asyncio.Future[list[Said]] = field(init=False)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answers = asyncio.get_running_loop().create_future()


class Workers:
    """The workers of one predictor, and what waits for them. Lives in the event loop.

    Args:
        hire: starts a worker.
        count: pieces of work that are done at the same time; the others wait in order.
        welcome: called with what the workers offer when all of them are ready.
        give_up: called once when no worker can be had; `failure` says why.
    """

    def __init__(
        self,
        hire: Hire,
        count: int,
        welcome: Callable[[Offer], None],
        give_up: Callable[[], None],
    ) -> None:
        self._hire = hire
        self._count = count
        self._welcome = welcome
        self._give_up = give_up
        self._waiting: deque[Job] = deque()
        #: Every job that waits or is done.
        self._live: set[Job] = set()
        self._tending: list[asyncio.Task[None]] = []
        self._ready = 0
        #: Rung when something waits, and when an idle worker has gone.
        self._bell = asyncio.Event()
        self.offer: Offer | None = None
        self.failure: NephraError | None = None
        self.closing = False

    @property
    def ready(self) -> bool:
        """Whether every worker has loaded what it needs."""
        return self._ready == self._count

    def begin(self) -> None:
        """Start the workers."""
        metrics()  # a scrape finds zeros before the first request
        self._tending = [asyncio.create_task(self._tend()) for _ in range(self._count)]

    async def run(self, job: Job) -> list[Said]:
        """Have work done when it is its turn; gives an answer for each instance.

        Raises:
            Cancelled: the caller went away.
            Unavailable: the server is ending, or the worker was lost.
            NephraError: whatever else went wrong.
        """
        if self.closing:
            raise self.ending()
        self._live.add(job)
        self._waiting.append(job)
        self._bell.set()
        try:
            await self._turn(job)
            return await job.answers
        except asyncio.CancelledError:
            job.call.cancel()
            job.answers.cancel()
            raise
        except Cancelled as error:
            if self.closing:
                raise self.ending() from error
            raise
        finally:
            if not job.begun.is_set():
                self._waiting.remove(job)
                self._forget(job)

    def stop(self) -> None:
        """Tell all work to stop, and take no more."""
        self.closing = True
        for job in list(self._live):
            job.call.cancel()

    async def withdraw(self, ticket: str) -> int:
        """Stop all work of a ticket and wait until it has ended; gives how many there were.

        When this returns, nothing will be written for the ticket any more.
        """
        found = [job for job in self._live if job.call.members.get("ticket") == ticket]
        for job in found:
            job.call.cancel()
        for job in found:
            await job.ended.wait()
        return len(found)

    async def close(self, last_s: float) -> None:
        """Stop all work, give it so long to clean up, and end the workers."""
        self.stop()
        try:
            async with asyncio.timeout(last_s):
                for job in list(self._live):
                    await job.ended.wait()
        except TimeoutError:
            logs.line("work did not stop in time")
        for task in self._tending:
            task.cancel()
        await asyncio.gather(*self._tending, return_exceptions=True)

    @staticmethod
    def ending() -> Unavailable:
        """The error for work that the end of the server cut short."""
        return Unavailable("The predictor is shutting down.", "Send the request again shortly.")

    async def _turn(self, job: Job) -> None:
        """Wait for a worker, or for the caller to lose interest."""
        begun = asyncio.ensure_future(job.begun.wait())
        stopped = asyncio.ensure_future(job.call.stopped.wait())
        try:
            with metrics().waiting.track_inprogress():
                await asyncio.wait({begun, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
            stopped.cancel()
        if not job.begun.is_set():
            raise Cancelled("The work was cancelled before it began.", "Send it again.")

    async def _tend(self) -> None:
        try:
            await self._keep()
        except Exception as error:  # noqa: BLE001  the border of the task: nobody waits for it
            self._fail(ours(error))

    async def _keep(self) -> None:
        """Keep one worker at work, and replace it when it is lost.

        Raises:
            NephraError: it cannot be had.
        """
        failures = 0
        while True:
            started_s = time.perf_counter()
            hands = await self._hire()
            how = ""
            try:
                offer = await hands.greet()
                self._join(offer, time.perf_counter() - started_s)
                failures = 0
                try:
                    await self._employ(hands)
                finally:
                    self._ready -= 1
            except Lost:
                failures += 1
            finally:
                how = await hands.end()
            if not hands.dismissed:
                metrics().lost.inc()
                logs.line("worker lost", logging.ERROR, how=how, starting=failures or None)
            if failures == ATTEMPTS:
                raise _hopeless(how)
            if failures:
                await asyncio.sleep(PAUSE_S * 2 ** (failures - 1))

    def _join(self, offer: Offer, took_s: float) -> None:
        self._ready += 1
        if self.ready:
            self.offer = offer
            self._welcome(offer)
            logs.line("ready", seconds=round(took_s, 2))

    def _fail(self, error: NephraError) -> None:
        if self.failure is None:
            self.failure = error
            self.stop()
            self._give_up()

    async def _employ(self, hands: Hands) -> None:
        """Give a worker what waits until it is lost."""
        watching = asyncio.create_task(self._ring_when(hands))
        try:
            while not (hands.gone.is_set() or hands.dismissed):
                if self._waiting:
                    await self._do(self._waiting.popleft(), hands)
                else:
                    self._bell.clear()
                    await self._bell.wait()
        finally:
            watching.cancel()

    async def _ring_when(self, hands: Hands) -> None:
        await hands.gone.wait()
        self._bell.set()

    async def _do(self, job: Job, hands: Hands) -> None:
        job.begun.set()
        try:
            with metrics().watch(job.operation):
                answers = await self._done(job, hands)
        except Exception as error:  # noqa: BLE001  carried over to whoever waits
            if not job.answers.done():
                job.answers.set_exception(ours(error))
        else:
            if not job.answers.done():
                job.answers.set_result(answers)
        finally:
            job.answers.cancel()
            self._forget(job)

    async def _done(self, job: Job, hands: Hands) -> list[Said]:
        try:
            return await hands.work(job.model, job.instances, job.call, job.listen)
        except Lost as error:
            how = await hands.end()
            logs.line("work ended with its worker", logging.ERROR, how=how, **job.call.members)
            if job.call.stopped.is_set():
                raise Cancelled(
                    "The work was cancelled.", "Send the request again to start anew."
                ) from error
            raise WorkerLost(
                f"The process that did this work ended ({how}); "
                "too little memory is the usual reason.",
                "Send it again.",
            ) from error

    def _forget(self, job: Job) -> None:
        self._live.discard(job)
        job.ended.set()


def _hopeless(how: str) -> Unavailable:
    return Unavailable(
        f"The worker ended {ATTEMPTS} times while it started ({how}).",
        "Look at its log; give it more memory if it was killed.",
        code="worker_lost",
    )
