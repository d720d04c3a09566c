"""Figures of what is in the database, for all gateways the same: looked at now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from nephra_contract.errors import Unavailable
from nephra_gateway.figures import Figures
from nephra_gateway.store import schema, tickets, turns
from nephra_gateway.store.database import Database
from nephra_gateway.store.listing import Queue
from nephra_gateway.store.ticket import State
from nephra_gateway.store.turns import Waiting

#: As often as a Prometheus looks.
_LOOK_S = 15.0

_NONE = Waiting(0, 0.0, 0)


class Gauges:
    """Keeps the gauges of tickets and turns fresh.

    Args:
        database: what they are read from.
        figures: where they are shown.
        predictors: those that there are.
        limits: how many turns there are at some of them.
    """

    def __init__(
        self,
        database: Database,
        figures: Figures,
        predictors: Iterable[str],
        limits: Mapping[str, int],
    ) -> None:
        self._database = database
        self._figures = figures
        self._predictors = sorted(predictors)
        for predictor in self._predictors:
            figures.busy.expect(predictor)
        for predictor, limit in limits.items():
            figures.turns_limit.labels(predictor).set(limit)

    async def watch(self) -> None:
        """Look again and again, until cancelled; while the database is away the last look stays."""
        while True:
            try:
                await self.look()
            except Unavailable:
                pass  # said in the log
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Look once.

        Raises:
            Unavailable: the database is away.
        """
        states, queue, waiting = await self._database.read(_read)
        for state in get_args(State):
            self._figures.tickets.labels(state).set(states.get(state, 0))
        self._figures.tickets_oldest.set(queue.oldest_s)
        for predictor in sorted({*self._predictors, *waiting}):
            found = waiting.get(predictor, _NONE)
            self._figures.queue_length.labels(predictor).set(found.waiting)
            self._figures.queue_oldest.labels(predictor).set(found.oldest_s)
            self._figures.turns.labels(predictor).set(found.held)


def _read(connection: Connection) -> tuple[dict[str, int], Queue, dict[str, Waiting]]:
    counted = sa.select(schema.tickets.c.state, sa.func.count()).group_by(schema.tickets.c.state)
    states: dict[str, int] = {row[0]: row[1] for row in connection.execute(counted)}
    return states, tickets.queue(connection), turns.figures(connection)
