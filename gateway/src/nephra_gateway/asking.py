"""One ticket's wish for the parts of a step, until it has all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nephra_contract.errors import (
    Cancelled,
    Conflict,
    InternalError,
    NephraError,
    PathRefused,
    RequestInvalid,
)
from nephra_contract.messages import Problem
from nephra_gateway.flights import Flight
from nephra_gateway.keys import Files
from nephra_gateway.problems import Relayed, document
from nephra_gateway.store import entries as store
from nephra_gateway.store.entries import Entry

if TYPE_CHECKING:
    from nephra_gateway.cache import Cache


@dataclass(frozen=True)
class Made:
    """A result, found or made.

    Args:
        answer: of its operation. Of one that was found, the paths are those of its home.
        entry: by which tickets name it; None where it is not in the cache.
        cached: it was there, or somebody else has made it.
        seconds: that it took to make.
    """

    answer: dict[str, Any]
    entry: str | None
    cached: bool
    seconds: float


#: Hears of each part as soon as it is there: (part, what was found or made).
Give = Callable[[str, Made], Awaitable[None]]

#: Is told by a maker that a part is there: (part, answer, seconds).
Done = Callable[[str, dict[str, Any], float], Awaitable[None]]

#: Makes parts: (their names, what to tell).
Make = Callable[[Sequence[str], Done], Awaitable[None]]

#: Problems of one ticket that another one with the same wish need not have: where its result
#: shall go, whether it is still wanted, who works on it.
_OWN = frozenset(
    {kind.default_code for kind in (Cancelled, Conflict, PathRefused, RequestInvalid)}
    | {"ticket_closed", "step_taken", "database_unavailable", "gateway_ending"}
)

#: No entry is older.
EVER = float("-inf")


@dataclass
class Asking:
    """See `Cache.once`, which has the same arguments.

    Args:
        cache: that is asked.
        keys: part → key.
        ticket: that asks.
        make: makes some parts.
        give: hears of each.
        inputs: part → what its manifest must say.
        after_s: an older entry does not count.
    """

    cache: Cache
    keys: Mapping[str, str | None]
    ticket: str
    make: Make
    give: Give
    inputs: Mapping[str, Files]
    after_s: float = EVER
    #: Parts that are not there yet, and those among them that are not shared.
    _wanted: set[str] = field(default_factory=set, init=False)
    _alone: set[str] = field(default_factory=set, init=False)

    async def run(self) -> None:
        """Go round until everything was given: what others have given up is tried again.

        Raises:
            NephraError: what has failed, here or elsewhere.
        """
        self._wanted = set(self.keys)
        self._alone = {part for part, key in self.keys.items() if key is None}
        if self.after_s == EVER:
            await self._take()
        while self._wanted:
            await self._round()

    async def _take(self) -> None:
        """Give at once what is there."""
        parts = self._shared()
        if parts:
            flights = self.cache.flights
            found = await flights.patiently(lambda c: store.find_all(c, parts), write=False)
            await together([self._use(parts[key], entry) for key, entry in found.items()])

    async def _round(self) -> None:
        """Make what nobody makes, and wait for all that others make."""
        parts = self._shared()
        boarding = await self.cache.flights.board(parts, self.ticket, self.after_s)
        mine = {parts[key]: flight for key, flight in boarding.mine.items()}
        works = [self._use(parts[key], entry) for key, entry in boarding.found.items()]
        works += [self._wait(parts[key], flight) for key, flight in boarding.others.items()]
        to_make = [p for p in self.keys if p in self._wanted and (p in mine or p in self._alone)]
        if to_make:
            works.append(self._make(to_make, mine))
        await together(works)

    def _shared(self) -> dict[str, str]:
        """By key, the parts that are wanted and may be made by others."""
        return {
            key: part
            for part, key in self.keys.items()
            if key is not None and part in self._wanted and part not in self._alone
        }

    async def _use(self, part: str, entry: Entry) -> None:
        """Take what is there; one that is damaged, or going, stays wanted."""
        made = await self.cache.use(entry, self.ticket)
        if made is not None:
            await self._given(part, made)

    async def _wait(self, part: str, flight: Flight) -> None:
        landing = await self.cache.flights.wait(flight)
        if landing.entry is not None:
            await self._use(part, landing.entry)
        elif landing.problem is not None:
            raise Relayed(Problem.model_validate(landing.problem))
        elif landing.alone:
            self._alone.add(part)

    async def _make(self, parts: Sequence[str], mine: Mapping[str, Flight]) -> None:
        """Make parts; however it ends, nobody waits for them any more after it."""
        left = dict(mine)
        self.cache.usage.miss(len(mine))

        async def done(part: str, answer: dict[str, Any], seconds: float) -> None:
            if part not in self._wanted:
                return
            entry = None
            if part in left:
                entry = await self._register(part, left[part], answer, seconds)
                del left[part]
            kept = None if entry is None else entry.id
            await self._given(part, Made(answer, kept, cached=False, seconds=seconds))

        try:
            await self.make(parts, done)
            missing = sorted(self._wanted.intersection(parts))
            if missing:
                raise _not_made(missing)
        except BaseException as error:
            problem = _shareable(error)
            if problem is None:
                self.cache.flights.drop(left.values())
            else:
                await self.cache.flights.fail(left.values(), problem)
            raise

    async def _register(
        self, part: str, flight: Flight, answer: Mapping[str, Any], seconds: float
    ) -> Entry | None:
        result = await self.cache.registration.result(
            flight.key, self.ticket, answer, seconds, self.inputs.get(part, {})
        )
        if result is None:
            self.cache.flights.drop([flight], alone=True)
            return None
        return await self.cache.flights.register(flight, result)

    async def _given(self, part: str, made: Made) -> None:
        self._wanted.discard(part)
        await self.give(part, made)


async def together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all at once. The first that fails ends the others, and is what is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    if not tasks:
        return
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in finished:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _shareable(error: BaseException) -> dict[str, Any] | None:
    """The problem document for those who wait for the same; None where it is not theirs."""
    if not isinstance(error, NephraError):
        return None
    problem = document(error)
    return None if problem.code in _OWN else problem.model_dump(mode="json")


def _not_made(parts: Sequence[str]) -> InternalError:
    said = ", ".join(f"'{part}'" for part in parts if part) or "its result"
    return InternalError(
        f"A predictor did not make {said}.",
        "Check that gateway and predictors are of one version.",
    )
