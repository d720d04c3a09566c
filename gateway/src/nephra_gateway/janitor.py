"""Takes away what is not needed any more, in an order in which nothing is lost by a crash.

Entries are marked, then their files go, then their rows; tickets' rows go together with a note of
their folder, then that goes, then the note. Whatever a crash leaves is finished by the next sweep.
"""

from __future__ import annotations

import asyncio
from functools import partial

from nephra_contract import logs
from nephra_contract.errors import Unavailable
from nephra_contract.paths import DataRoot
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.store import chores, claims, removal
from nephra_gateway.store.database import Database
from nephra_gateway.store.removal import Going
from nephra_gateway.sweeping import Sweeping

#: Between two sweeps; shorter where what is swept is kept for less.
_PAUSE_S = 30.0

#: Who sweeps and is silent for longer is followed by another one.
_CHORE, _LEASE_S = "janitor", 120.0

#: Rows that are changed in one transaction, which others wait for.
_BATCH = 200


class Janitor:
    """Sweeps, one gateway at a time.

    Args:
        database: of tickets and entries.
        data: where their files are.
        settings: how long what is kept.
        holder: this gateway's name.
    """

    def __init__(
        self, database: Database, data: DataRoot, settings: GatewaySettings, holder: str
    ) -> None:
        self._database = database
        self._files = Sweeping(data)
        self._settings = settings
        self._holder = holder
        shortest_s = min(settings.cache_unused_s, settings.keep_tickets_s) / 2
        self._pause_s = max(0.5, min(_PAUSE_S, shortest_s))
        #: What was used may not be written down yet.
        self._touched_s = min(60.0, settings.cache_unused_s / 4)

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            try:
                if await self._mine():
                    await self.sweep()
            except Unavailable:
                pass  # the database says so in the log itself
            except OSError as error:
                logs.line("data root cannot be swept", why=error.strerror)
            await asyncio.sleep(self._pause_s)

    async def sweep(self) -> None:
        """Take away all that can go now.

        Raises:
            Unavailable: the database is away.
            OSError: the data root cannot be read.
        """
        await asyncio.to_thread(self._files.finish)
        await self._tickets()
        doomed = await self._doom()
        gone = await self._entries()
        await self._folders()
        await self._database.write(claims.tidy)
        if doomed or gone:
            logs.line("cache swept", doomed=doomed, gone=gone)

    async def clear(self, ticket: str) -> None:
        """Take away what lies in a ticket's folder and is no entry's; it must have ended.

        Raises:
            Unavailable: the database is away.
        """
        kept = await self._database.read(lambda c: removal.lying_in(c, ticket))
        await asyncio.to_thread(self._files.clear, ticket, kept)

    async def _mine(self) -> bool:
        return await self._database.write(lambda c: chores.mine(c, _CHORE, self._holder, _LEASE_S))

    async def _tickets(self) -> None:
        kept_s = self._settings.keep_tickets_s
        while await self._database.write(lambda c: removal.expire_tickets(c, kept_s, _BATCH)):
            pass

    async def _doom(self) -> int:
        unused_s = self._settings.cache_unused_s + self._touched_s
        count, more = 0, 1
        while more:
            more = await self._database.write(lambda c: removal.doom_unused(c, unused_s, _BATCH))
            count += more
        limit = self._settings.cache_max_bytes
        return count + await self._database.write(lambda c: removal.doom_over(c, limit))

    async def _entries(self) -> int:
        """Files first, rows last; who dies in between has marked what is to be done."""
        count = 0
        while going := await self._database.write(lambda c: removal.take_doomed(c, _BATCH)):
            removed = await asyncio.to_thread(self._remove, going)
            if not removed:
                break  # somebody else's files; the next sweep will try again
            await self._database.write(partial(removal.forget, entries=removed))
            count += len(removed)
            await self._mine()
        return count

    def _remove(self, going: list[Going]) -> list[str]:
        return [entry.id for entry in going if self._files.remove(entry)]

    async def _folders(self) -> None:
        """Of tickets that are forgotten, and of those that have failed or were cancelled."""
        forgotten = await self._database.read(removal.clearings)
        for ticket in forgotten:
            await self.clear(ticket)
        gone = await asyncio.to_thread(self._files.gone, forgotten)
        for ids in _batches(gone):
            await self._database.write(partial(removal.cleared, ids=ids))
        homes = await asyncio.to_thread(self._files.tickets)
        for ids in _batches(homes):
            for ticket in await self._database.read(partial(removal.void, ids=ids)):
                await self.clear(ticket)


def _batches(ids: list[str]) -> list[list[str]]:
    return [ids[first : first + _BATCH] for first in range(0, len(ids), _BATCH)]
