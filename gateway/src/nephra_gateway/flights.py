"""One makes it, all others wait: in this process by a future, among processes by the database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection

from nephra_contract import logs
from nephra_contract.errors import Unavailable
from nephra_gateway.store import claims
from nephra_gateway.store.claims import Claimed, Seen
from nephra_gateway.store.database import Database
from nephra_gateway.store.entries import Entry, Result

#: What other processes make is looked for so often.
_LOOK_S = 0.2

#: A database that is away is tried again so often.
_AGAIN_S = 0.5

#: Beats in the time of one lease.
_BEATS = 3

T = TypeVar("T")


@dataclass(frozen=True)
class Landing:
    """How it ended for those who wait. With nothing set, one of them has to try it himself.

    Args:
        entry: it is there.
        problem: it has failed, and why.
        alone: it was made, but cannot be shared: everybody has to make his own.
    """

    entry: Entry | None = None
    problem: Mapping[str, Any] | None = None
    alone: bool = False


@dataclass(eq=False)
class Flight:
    """One thing in the making.

    Args:
        key: of what is made.
        token: of the claim to it.
        after_s: an older entry does not count.
        landed: what those in this process wait for.
        state: its claim is on its way; or it is made in this process; or in another one, for
            which is `watched`.
    """

    key: str
    token: str
    after_s: float
    landed: asyncio.Future[Landing]
    state: Literal["claiming", "ours", "watched"] = "claiming"


@dataclass(frozen=True)
class Boarding:
    """What has become of the wish for some things, by key.

    Args:
        found: is there.
        mine: is the caller's to make; each has to be landed.
        others: is made by others.
    """

    found: Mapping[str, Entry]
    mine: Mapping[str, Flight]
    others: Mapping[str, Flight]


@dataclass
class Flights:
    """All that is being made, as far as this process knows.

    Args:
        database: that decides who makes what.
        lease_s: a maker that is silent for longer is not waited for.
    """

    database: Database
    lease_s: float
    #: How many wait for what another one makes.
    waiting: int = 0
    _flights: dict[str, Flight] = field(default_factory=dict, repr=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, repr=False)
    _loops: list[asyncio.Task[None]] = field(default_factory=list, repr=False)
    _watching: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def start(self) -> None:
        """Begin to beat for what is made here, and to look for what is made elsewhere."""
        self._loops = [asyncio.create_task(self._beat()), asyncio.create_task(self._look())]

    async def close(self) -> None:
        """Give up all that is made here."""
        for task in self._loops:
            task.cancel()
        ours = self._all("ours")
        for flight in list(self._flights.values()):
            self._land(flight, Landing())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._loops, *self._tasks, return_exceptions=True)
        await self._give_up([flight.token for flight in ours])

    async def board(self, keys: Iterable[str], ticket: str, after_s: float) -> Boarding:
        """Wish for some things: what nobody makes is the caller's to make.

        Args:
            keys: of them.
            ticket: for which.
            after_s: an older entry does not count.
        """
        wanted = list(keys)
        others = {key: self._flights[key] for key in wanted if key in self._flights}
        new = [self._new(key, after_s) for key in wanted if key not in others]
        if not new:
            return Boarding({}, {}, others)
        tokens = {flight.key: flight.token for flight in new}
        claiming = asyncio.ensure_future(
            self.patiently(lambda c: claims.claim(c, tokens, ticket, self.lease_s, after_s))
        )
        try:
            claimed = await asyncio.shield(claiming)
        except BaseException:
            for flight in new:
                self._land(flight, Landing())
            self._soon(self._undo(claiming, list(tokens.values())))
            raise
        return self._boarded(claimed, new, others)

    async def wait(self, flight: Flight) -> Landing:
        """Wait for what another one makes."""
        self.waiting += 1
        try:
            return await asyncio.shield(flight.landed)
        finally:
            self.waiting -= 1

    async def register(self, flight: Flight, result: Result) -> Entry | None:
        """Let a result be found by everybody; None if somebody else has taken over."""
        entry = await self.patiently(lambda c: claims.register(c, flight.token, result))
        self._land(flight, Landing(entry=entry))
        return entry

    async def fail(self, flights: Collection[Flight], problem: Mapping[str, Any]) -> None:
        """Tell everybody who waits why there will be nothing."""
        tokens = [flight.token for flight in flights]
        for flight in flights:
            self._land(flight, Landing(problem=problem))
        with suppress(Unavailable):  # then the lease will pass
            await self.database.write(lambda c: claims.fail(c, tokens, problem))

    def drop(self, flights: Collection[Flight], *, alone: bool = False) -> None:
        """Give up; one of those who wait takes over, or each of them does his own."""
        for flight in flights:
            self._land(flight, Landing(alone=alone))
        if flights:
            self._soon(self._give_up([flight.token for flight in flights]))

    async def patiently(self, work: Callable[[Connection], T], *, write: bool = True) -> T:
        """Write or read something, however long the database is away."""
        while True:
            try:
                return await (self.database.write(work) if write else self.database.read(work))
            except Unavailable:
                await asyncio.sleep(_AGAIN_S)

    def _new(self, key: str, after_s: float) -> Flight:
        landed = asyncio.get_running_loop().create_future()
        flight = Flight(key, uuid.uuid4().hex, after_s, landed)
        self._flights[key] = flight
        return flight

    def _boarded(
        self, claimed: Claimed, new: Collection[Flight], others: dict[str, Flight]
    ) -> Boarding:
        mine = {}
        for flight in new:
            if flight.landed.done():
                # It was closed meanwhile; what was claimed will be free when its lease passes.
                others[flight.key] = flight
            elif flight.key in claimed.taken:
                flight.state = "ours"
                mine[flight.key] = flight
            elif flight.key in claimed.found:
                self._land(flight, Landing(entry=claimed.found[flight.key]))
            else:
                others[flight.key] = flight
                self._wait_for(flight, claimed.others.get(flight.key))
        return Boarding(claimed.found, mine, others)

    def _wait_for(self, flight: Flight, token: str | None) -> None:
        if token is None:
            self._land(flight, Landing())
        else:
            flight.token, flight.state = token, "watched"
            self._watching.set()

    def _land(self, flight: Flight, landing: Landing) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        if not flight.landed.done():
            flight.landed.set_result(landing)

    async def _undo(self, claiming: asyncio.Future[Claimed], tokens: list[str]) -> None:
        await asyncio.wait({claiming})
        if not claiming.cancelled():
            claiming.exception()  # taken note of
        await self._give_up(tokens)

    async def _give_up(self, tokens: Collection[str]) -> None:
        if tokens:
            with suppress(Unavailable):  # then the lease will pass
                await self.database.write(lambda c: claims.drop(c, tokens))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _all(self, state: Literal["ours", "watched"]) -> list[Flight]:
        return [flight for flight in self._flights.values() if flight.state == state]

    async def _beat(self) -> None:
        """Say that what is made here is still being made."""
        while True:
            await asyncio.sleep(self.lease_s / _BEATS)
            tokens = [flight.token for flight in self._all("ours")]
            if tokens:
                await _tend("beat", self._prolong(tokens))

    async def _prolong(self, tokens: list[str]) -> None:
        held = await self.database.write(lambda c: claims.beat(c, tokens, self.lease_s))
        gone = [f for f in self._all("ours") if f.token in tokens and f.token not in held]
        if gone:
            logs.line("somebody else makes what is made here", count=len(gone))

    async def _look(self) -> None:
        """Look for all that is made elsewhere at once, for as long as there is anything."""
        while True:
            await self._watching.wait()
            watched = self._all("watched")
            if watched:
                await _tend("look", self._see(watched))
                await asyncio.sleep(_LOOK_S)
            else:
                self._watching.clear()

    async def _see(self, watched: Collection[Flight]) -> None:
        waited = {flight.key: flight.token for flight in watched}
        after_s = {flight.key: flight.after_s for flight in watched}
        seen = await self.database.read(lambda c: claims.look(c, waited, after_s, self.lease_s))
        for flight in watched:
            self._saw(flight, seen[flight.key])

    def _saw(self, flight: Flight, seen: Seen) -> None:
        if seen.token is not None:
            flight.token = seen.token
        else:
            self._land(flight, Landing(entry=seen.entry, problem=seen.problem))


async def _tend(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Do once what is done again and again, whatever becomes of it."""
    try:
        await work
    except Unavailable:
        pass  # the database says so in the log itself
    except Exception as error:  # noqa: BLE001 - nobody else would ever hear of it
        logs.defect(f"the cache could not {name}", error)
