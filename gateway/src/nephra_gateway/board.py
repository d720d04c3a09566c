"""Who waits for news of a ticket hears of them: at once from this process, soon from others."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from nephra_contract.errors import Unavailable
from nephra_gateway.store import tickets
from nephra_gateway.store.database import Database

#: Tickets that other processes work on are looked at so often.
_LOOK_S = 0.3


class Watch:
    """News of one ticket, for one who waits.

    Args:
        ends_only: no other news but its end.
    """

    def __init__(self, ends_only: bool) -> None:
        self._ends_only = ends_only
        self._news = asyncio.Event()

    def tell(self, ended: bool) -> None:
        """There are news."""
        if ended or not self._ends_only:
            self._news.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for news since the last time; False if there were none in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class Board:
    """News of tickets.

    Args:
        database: where those of other processes are found.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._seen: dict[str, tuple[str, int]] = {}

    @contextmanager
    def watch(self, ticket: str, *, ends_only: bool = False) -> Iterator[Watch]:
        """Hear of a ticket, or of its end alone, for as long as the block lasts."""
        watch = Watch(ends_only)
        self._watches[ticket].add(watch)
        try:
            yield watch
        finally:
            self._watches[ticket].discard(watch)
            if not self._watches[ticket]:
                del self._watches[ticket]
                self._seen.pop(ticket, None)

    def changed(self, ticket: str, *, ended: bool = False) -> None:
        """Tell all who wait for news of a ticket."""
        for watch in self._watches.get(ticket, ()):
            watch.tell(ended)

    def wake(self) -> None:
        """Let all who wait look for themselves."""
        for ticket in list(self._watches):
            self.changed(ticket, ended=True)

    async def look(self) -> None:
        """Look for news from other processes until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            watched = list(self._watches)
            if not watched:
                continue
            try:
                found = await self._database.read(partial(tickets.versions, ids=watched))
            except Unavailable:
                continue  # those who wait go on waiting
            for ticket, version in found.items():
                if self._seen.get(ticket) != version and ticket in self._watches:
                    self._seen[ticket] = version
                    self.changed(ticket, ended=version[0] in tickets.ENDED)
