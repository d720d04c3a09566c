"""A ticket's results: whole or not at all."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nephra_contract.paths import DataRoot
from nephra_contract.results import RESULTS
from nephra_gateway.predictors import Predictors


@dataclass(frozen=True)
class Tickets:
    """Sees to it that what failed, or is not wanted any more, leaves nothing behind.

    Args:
        data: the data root.
        predictors: who may still be writing.
    """

    data: DataRoot
    predictors: Predictors
    _withdrawing: set[asyncio.Task[None]] = field(default_factory=set, repr=False)

    @asynccontextmanager
    async def whole(self, ticket: str) -> AsyncIterator[None]:
        """If the block raises, or is cancelled, nothing of the ticket stays.

        A block that fails is answered when that is done; after a hang-up nobody waits.
        """
        try:
            yield
        except asyncio.CancelledError:
            self._begin(ticket)
            raise
        except BaseException:
            await asyncio.shield(self._begin(ticket))
            raise

    async def close(self) -> None:
        """Wait until all withdrawals are done."""
        await asyncio.gather(*self._withdrawing, return_exceptions=True)

    def _begin(self, ticket: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._withdraw(ticket))
        self._withdrawing.add(task)
        task.add_done_callback(self._withdrawing.discard)
        return task

    async def _withdraw(self, ticket: str) -> None:
        await self.predictors.withdraw(ticket)
        folder = self.data.resolve(f"{RESULTS}/{ticket}")
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
