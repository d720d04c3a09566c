"""Work in threads, so many pieces at a time, each of which can be told to stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from nephra_contract.errors import Cancelled, Unavailable
from nephra_serving.calls import Call
from nephra_serving.metrics import metrics

Value = TypeVar("Value")


class Workers:
    """The hands of one predictor.

    A thread of its own for each piece of work: the event loop stays free for probes. The threads
    are daemons, so that one that is stuck in a library cannot hold up the end of the process.

    Args:
        at_once: pieces of work that run at the same time; the others wait in order.
    """

    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        #: Every call that waits or runs, with what is set when it has ended for good.
        self._live: dict[Call, asyncio.Event] = {}
        self._threads: set[threading.Thread] = set()
        self.closing = False

    async def run(self, work: Callable[[], Value], call: Call) -> Value:
        """Run `work` in a thread when it is its turn.

        Raises:
            Cancelled: the caller went away before it began.
            Unavailable: the server is ending.
            Exception: whatever `work` raises.
        """
        if self.closing:
            raise self.ending()
        self._live[call] = asyncio.Event()
        try:
            await self._turn(call)
        except BaseException:
            self._forget(call)
            raise
        try:
            return await self._start(work, call)
        except asyncio.CancelledError:
            call.cancel()
            raise
        except Cancelled as error:
            if self.closing:
                raise self.ending() from error
            raise

    def stop(self) -> None:
        """Tell all work to stop, and take no more. To be called in the event loop."""
        self.closing = True
        for call in list(self._live):
            call.cancel()

    async def withdraw(self, ticket: str) -> int:
        """Stop all work of a ticket and wait until it has ended; gives how many there were.

        When this returns, nothing will be written for the ticket any more.
        """
        found = [(c, e) for c, e in self._live.items() if c.members.get("ticket") == ticket]
        for call, _ in found:
            call.cancel()
        for _, ended in found:
            await ended.wait()
        return len(found)

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads; whether all have ended."""
        for thread in list(self._threads):
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    @staticmethod
    def ending() -> Unavailable:
        """The error for work that the end of the server cut short."""
        return Unavailable("The predictor is shutting down.", "Send the request again shortly.")

    async def _turn(self, call: Call) -> None:
        """Wait for a slot, or for the caller to lose interest."""
        with metrics().waiting.track_inprogress():
            slot = asyncio.ensure_future(self._slots.acquire())
            stopped = asyncio.ensure_future(call.stopped.wait())
            try:
                await asyncio.wait({slot, stopped}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                call.cancel()
            finally:
                stopped.cancel()
        if call.stop.is_set():
            # A slot that was given at the same moment goes to the next one.
            if slot.done():
                self._slots.release()
            else:
                slot.cancel()
            raise Cancelled("The work was cancelled before it began.", "Send it again.")

    async def _start(self, work: Callable[[], Value], call: Call) -> Value:
        """Run in a thread; the slot is free again when the thread has ended, not before."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Value] = loop.create_future()

        def finish(value: Value | None, error: BaseException | None) -> None:
            self._threads.discard(thread)
            self._slots.release()
            self._forget(call)
            if ended.cancelled():
                return
            if error is not None:
                ended.set_exception(error)
            else:
                ended.set_result(value)  # type: ignore[arg-type]

        def labour() -> None:
            value: Value | None = None
            failed: BaseException | None = None
            try:
                value = work()
            except BaseException as error:  # noqa: BLE001  carried over to the event loop
                failed = error
            try:
                loop.call_soon_threadsafe(finish, value, failed)
            except RuntimeError:
                pass  # the loop has been closed: nobody waits any more

        thread = threading.Thread(target=labour, name="nephra-work", daemon=True)
        self._threads.add(thread)
        thread.start()
        return await ended

    def _forget(self, call: Call) -> None:
        self._live.pop(call).set()
