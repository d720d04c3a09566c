"""A ticket's results: whole or not at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nephra_contract import logs
from nephra_contract.abandoned import sweep
from nephra_contract.errors import Unavailable
from nephra_contract.paths import DataRoot
from nephra_contract.results import close_ticket, open_ticket, withdraw_ticket
from nephra_gateway.predictors import Predictors
from nephra_gateway.storage import unusable


@dataclass(frozen=True)
class Tickets:
    """Sees to it that what failed, or is not wanted any more, leaves nothing behind.

    A ticket's folder is its fence: work for it is written inside of that folder alone. Once it
    is taken away nobody can write, whichever of several replicas they are, and heard or not.

    Args:
        data: the data root.
        predictors: who may still be at work.
    """

    data: DataRoot
    predictors: Predictors
    _withdrawing: set[asyncio.Task[None]] = field(default_factory=set, repr=False)

    @asynccontextmanager
    async def whole(self, ticket: str) -> AsyncIterator[None]:
        """If the block raises, or is cancelled, nothing of the ticket stays.

        A block that fails is answered when that is done; after a hang-up nobody waits.

        Raises:
            Unavailable: the data root cannot be written.
        """
        change = asyncio.ensure_future(self._with_folder(open_ticket, ticket))
        try:
            await asyncio.shield(change)
            yield
            change = asyncio.ensure_future(self._with_folder(close_ticket, ticket))
            await asyncio.shield(change)
        except asyncio.CancelledError:
            self._begin(ticket, change)
            raise
        except BaseException:
            await asyncio.shield(self._begin(ticket, change))
            raise

    async def sweep(self, older_than_s: float) -> None:
        """Close what gateways that were killed have left, now and then, until cancelled.

        Args:
            older_than_s: no ticket that is alive has seen a change for longer.
        """
        stop = threading.Event()
        try:
            while True:
                try:
                    count = await asyncio.to_thread(sweep, self.data, older_than_s, stop)
                    if count:
                        logs.line("abandoned tickets closed", count=count)
                except OSError as error:
                    logs.line("data root cannot be swept", why=error.strerror)
                await asyncio.sleep(older_than_s)
        finally:
            stop.set()

    async def close(self) -> None:
        """Wait until all withdrawals are done."""
        await asyncio.gather(*self._withdrawing, return_exceptions=True)

    async def _with_folder(self, change: Callable[[DataRoot, str], None], ticket: str) -> None:
        try:
            await asyncio.to_thread(change, self.data, ticket)
        except OSError as error:
            logs.defect("data root cannot be written", error, ticket=ticket)
            raise unusable() from error

    def _begin(self, ticket: str, change: asyncio.Future[None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._withdraw(ticket, change))
        self._withdrawing.add(task)
        task.add_done_callback(self._withdrawing.discard)
        return task

    async def _withdraw(self, ticket: str, change: asyncio.Future[None]) -> None:
        """The folder first, which nobody misses hearing of; then who could stop sooner."""
        await asyncio.wait({change})  # a thread that is at the folder cannot be cancelled
        try:
            await self._with_folder(withdraw_ticket, ticket)
        except Unavailable:
            pass  # said in the log
        await self.predictors.withdraw(ticket)
