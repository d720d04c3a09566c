"""The prediction cache: what was made once is found again by its content."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection

from nephra_contract import logs
from nephra_contract.errors import Unavailable
from nephra_contract.paths import DataRoot
from nephra_gateway.asking import EVER, Asking, Done, Give, Made, Make
from nephra_gateway.content import Contents
from nephra_gateway.figures import Figures
from nephra_gateway.flights import Flights
from nephra_gateway.keys import Files
from nephra_gateway.lookup import Lookup
from nephra_gateway.messages import CacheView
from nephra_gateway.registration import Registration, new_entry
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.storage import unusable
from nephra_gateway.store import entries as store
from nephra_gateway.store.database import Database, now_s
from nephra_gateway.store.entries import Entry, Result
from nephra_gateway.usage import HITS, MISSES, SAVED, TOUCH_S, Usage

#: Counters are written down, and gauges set, so often.
_FLUSH_S = 10.0

_COUNTED = (HITS, MISSES, SAVED)

__all__ = ["Cache", "Done", "Give", "Made", "Make"]


class Cache:
    """What was made, and what is being made.

    Args:
        database: where entries and claims are.
        data: where their files are.
        contents: of these files.
        settings: leases and limits.
        figures: what is counted.
    """

    def __init__(
        self,
        database: Database,
        data: DataRoot,
        contents: Contents,
        settings: GatewaySettings,
        figures: Figures,
    ) -> None:
        self.database = database
        self.contents = contents
        self.flights = Flights(database, settings.lease_s)
        self.registration = Registration(data, contents)
        self.usage = Usage(database, figures, min(TOUCH_S, settings.cache_unused_s / 4))
        self._lookup = Lookup(database)
        self._settings, self._figures = settings, figures
        self._flushing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin what is done in the background."""
        self.flights.start()
        self._flushing = asyncio.create_task(self._flush())

    async def close(self) -> None:
        """Give up what is being made here, and write down what was counted."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait({self._flushing})
        await self.flights.close()
        with suppress(Unavailable):
            await self.usage.flush(last=True)

    async def once(
        self,
        keys: Mapping[str, str | None],
        ticket: str,
        make: Make,
        give: Give,
        *,
        fresh: bool = False,
        inputs: Mapping[str, Files],
    ) -> None:
        """Have the parts of a step, each found, waited for, or made, but made only once.

        What is there is given at once. What nobody makes is made by one call of `make`; what
        others make just now, in whatever process, is waited for meanwhile. If they fail, so does
        this, with their problem; if they are cancelled or die, this may have to make it.

        Args:
            keys: part → key; one without a key is always made.
            ticket: that it is for; its row is in the database.
            make: makes some parts, and tells of each when it is done. One call at a time.
            give: hears of each part, once.
            fresh: nothing that was there before is taken.
            inputs: part → what its manifest must say; see `keys.Keyed`.

        Raises:
            NephraError: of `make`, here or elsewhere. Whatever `make` and `give` raise.
        """
        after_s = await self.flights.patiently(now_s, write=False) if fresh else EVER
        await Asking(self, keys, ticket, make, give, inputs, after_s).run()

    async def peek(self, key: str) -> Made | None:
        """What is there, verified; None where it would have to be made, or waited for.

        It is not held: who names it in a ticket asks `store.entries.whole` in the same
        transaction.

        Raises:
            Unavailable: the database is away.
        """
        entry = await self._lookup.find(key)
        if entry is None:
            return None
        damaged = await self._damaged(entry)
        if damaged is not None:
            await self.database.write(lambda c: store.doom_file(c, entry.id, damaged))
            return None
        return self._hit(entry)

    async def use(self, entry: Entry, ticket: str) -> Made | None:
        """Take an entry for a ticket that runs; None where it is damaged, or has gone."""
        damaged = await self._damaged(entry)
        if damaged is not None:
            await self.flights.patiently(lambda c: store.doom_file(c, entry.id, damaged))
            return None
        held = await self.flights.patiently(lambda c: store.hold(c, ticket, [entry.id]))
        return self._hit(entry) if held else None

    async def remember(
        self,
        key: str,
        operation: str,
        home: str,
        answer: Mapping[str, Any],
        files: Sequence[str],
        parts: Sequence[str],
        seconds: float,
    ) -> str | None:
        """Keep something that is made of entries, as an entry of its own.

        Args:
            key: that it is found by.
            operation: its name.
            home: the ticket in whose folder its own files lie.
            answer: that it is found with.
            files: its own, besides those of its parts.
            parts: the entries that it is made of.
            seconds: that it took.

        Returns:
            The entry; None where it cannot be kept, since a part has gone.
        """
        digests = await asyncio.gather(*(self.contents.file_digest(path) for path in files))
        if None in digests:
            return None
        own = {path: str(digest) for path, digest in zip(files, digests, strict=True)}
        size = await asyncio.to_thread(self.registration.size, list(files))
        entry = new_entry()

        def write(connection: Connection) -> bool:
            earlier = store.find(connection, key)
            if earlier is not None and earlier.id == entry:
                return True  # an earlier attempt at this was not heard of
            every = store.files_of(connection, parts)
            result = Result(
                entry, key, operation, home, None, size, seconds, every | own, answer, parts
            )
            return store.put(connection, result)

        return entry if await self.flights.patiently(write) else None

    async def view(self) -> CacheView:
        """What the cache holds, and how it has served.

        Raises:
            Unavailable: the database is away.
        """
        held, counted = await self.database.read(lambda c: (store.held(c), store.counted(c)))
        sums = {name: counted.get(name, 0.0) + self.usage.pending[name] for name in _COUNTED}
        return CacheView(
            entries=held.entries,
            bytes=held.bytes,
            max_bytes=self._settings.cache_max_bytes,
            unused_s=self._settings.cache_unused_s,
            hits=round(sums[HITS]),
            misses=round(sums[MISSES]),
            seconds_saved=round(sums[SAVED], 3),
        )

    async def _damaged(self, entry: Entry) -> str | None:
        """A file that is not there, or not as it was made; None where all are.

        Raises:
            Unavailable: it cannot be said, since the data root is away.
        """
        for path, digest in entry.files.items():
            found = self.contents.known_digest(path)
            if found is None:
                found = await self.contents.file_digest(path)
            if found is None and not self.contents.usable(path):
                raise unusable()
            if found != digest:
                logs.line("cached result damaged", path=path, entry=entry.id)
                return path
        return None

    def _hit(self, entry: Entry) -> Made:
        self.usage.hit(entry)
        answer = {**entry.answer, "cached": True}
        return Made(answer, entry.id, cached=True, seconds=entry.seconds)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            with suppress(Unavailable):
                await self.usage.flush()
                held = await self.database.read(store.held)
                self._figures.cache_entries.set(held.entries)
                self._figures.cache_bytes.set(held.bytes)
