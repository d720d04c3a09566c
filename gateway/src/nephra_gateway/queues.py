"""Waiting for one's turn at a predictor: no more at once than it may be given, by all gateways."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nephra_contract.messages import Event
from nephra_gateway.journal import persist
from nephra_gateway.retries import Emit
from nephra_gateway.store import turns
from nephra_gateway.store.database import Database

#: One that waits asks again so often, which also says that it still waits.
_ASK_S = 0.5


@dataclass(frozen=True)
class Place:
    """Who waits, and where in the order.

    Args:
        predictor: whose turn it is.
        ticket, step: who waits; a ticket's steps are told apart.
        rank: (priority, when the ticket was made): the lowest first.
    """

    predictor: str
    ticket: str
    step: str
    rank: tuple[int, float]


class Queues:
    """The queues before all predictors.

    Args:
        database: shared by all gateways.
        holder: this gateway's name there.
        limits: predictor → how many at once; one that is not named has no limit.
        lease_s: the place of one that is silent for longer is given to another.
    """

    def __init__(
        self, database: Database, holder: str, limits: Mapping[str, int], lease_s: float
    ) -> None:
        self._database = database
        self._holder = holder
        self._limits = limits
        self._lease_s = lease_s
        self._given: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @asynccontextmanager
    async def turn(self, place: Place, emit: Emit) -> AsyncIterator[None]:
        """Wait for a turn, and have it for as long as the block lasts.

        Args:
            place: who waits, for what.
            emit: hears how many come before.
        """
        limit = self._limits.get(place.predictor)
        if limit is None:
            yield
            return
        try:
            await self._wait(place, limit, emit)
            yield
        finally:
            await asyncio.shield(self._give(place))

    async def beat(self) -> None:
        """Say that those who have a turn still live."""
        await persist(self._database, lambda c: turns.beat(c, self._holder, self._lease_s))

    async def _wait(self, place: Place, limit: int, emit: Emit) -> None:
        told: int | None = None
        while True:
            before = await persist(
                self._database,
                lambda c: turns.take(
                    c,
                    place.predictor,
                    place.ticket,
                    place.step,
                    self._holder,
                    place.rank,
                    self._lease_s,
                    limit,
                ),
            )
            if before is None:
                return
            if before != told:
                stage = f"waiting for {place.predictor}"
                emit(Event(event="progress", stage=stage, fraction=0.0, position=before))
                told = before
            try:
                async with asyncio.timeout(_ASK_S):
                    await self._given[place.predictor].wait()
            except TimeoutError:
                pass

    async def _give(self, place: Place) -> None:
        await persist(
            self._database,
            lambda c: turns.give(c, place.predictor, place.ticket, place.step, self._holder),
        )
        self._given.pop(place.predictor, asyncio.Event()).set()
