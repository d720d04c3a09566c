"""Looking entries up: who asks at the same moment shares one query."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial

from nephra_gateway.store import entries
from nephra_gateway.store.database import Database
from nephra_gateway.store.entries import Entry


@dataclass
class Lookup:
    """Finds entries by their keys.

    One query is under way at a time; those who ask meanwhile are answered by the next. With one
    asker that is what a query of his own would be; with many, a thread, a transaction and a row
    that all of them want are paid for once.

    Args:
        database: where they are.
    """

    database: Database
    _asked: dict[str, asyncio.Future[Entry | None]] = field(default_factory=dict, repr=False)
    _reading: asyncio.Task[None] | None = field(default=None, repr=False)

    async def find(self, key: str) -> Entry | None:
        """The entry of a key, as the database had it after this was called.

        Raises:
            Unavailable: the database is away.
        """
        found = self._asked.get(key)
        if found is None:
            found = self._asked[key] = asyncio.get_running_loop().create_future()
            found.add_done_callback(_noted)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(found)

    async def _read(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await self.database.read(partial(entries.find_all, keys=asked))
            except Exception as error:  # noqa: BLE001 - it goes to who has asked
                for future in asked.values():
                    future.set_exception(error)
            else:
                for key, future in asked.items():
                    future.set_result(found.get(key))


def _noted(found: asyncio.Future[Entry | None]) -> None:
    """Whoever has asked may be gone when the answer comes."""
    if not found.cancelled():
        found.exception()
