"""Figures of what waits and runs, as the database has it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from nephra_gateway.figures import Figures
from nephra_gateway.gauges import Gauges
from nephra_gateway.store import tickets, turns
from nephra_gateway.store.database import Database
from nephra_gateway.store.tickets import Asked


def _take(connection: Connection, ticket: str) -> int | None:
    return turns.take(connection, "nnunet", ticket, "", "me", (3, 0.0), 60, limit=1)


async def _look(database: Database, figures: Figures) -> None:
    gauges = Gauges(database, figures, ["nnunet", "smoothing"], {"nnunet": 1})
    await gauges.look()
    for name in ("a" * 32, "b" * 32, "c" * 32):
        asked = Asked(name, "inference/tumor", {}, "somebody")
        await database.write(partial(tickets.submit, asked=asked))
    await database.write(lambda c: tickets.claim(c, "me", 60, 1))
    for name in ("a" * 32, "b" * 32):
        await database.write(partial(_take, ticket=name))
    await gauges.look()


def test_tickets_and_turns_are_shown(tmp_path: Path) -> None:
    """What waits and runs, whose turn it is, and zeros where nothing is."""
    figures = Figures()
    database = Database.of(f"sqlite:///{tmp_path}/gateway.db")
    database.migrate()

    async def look() -> None:
        try:
            await _look(database, figures)
        finally:
            await database.close()

    asyncio.run(look())

    def value(name: str, **labels: str) -> float | None:
        return figures.registry.get_sample_value(f"nephra_gateway_{name}", labels)

    assert value("tickets", state="queued") == 2
    assert value("tickets", state="running") == 1
    assert value("tickets", state="failed") == 0
    assert (value("tickets_oldest_seconds") or 0) > 0
    assert value("queue_length", predictor="nnunet") == 1
    assert (value("queue_oldest_seconds", predictor="nnunet") or 0) > 0
    assert value("turns", predictor="nnunet") == 1
    assert value("turns_limit", predictor="nnunet") == 1
    assert value("queue_length", predictor="smoothing") == 0
    assert value("turns", predictor="smoothing") == 0
    assert value("busy_seconds_total", predictor="smoothing") == 0
