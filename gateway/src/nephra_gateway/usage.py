"""How the cache serves: counted in memory, and written down now and then."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import Connection

from nephra_gateway.figures import Figures
from nephra_gateway.store import entries
from nephra_gateway.store.database import Database
from nephra_gateway.store.entries import Entry

HITS, MISSES, SAVED = "hits", "misses", "seconds_saved"

#: An entry that is used all the time is written to so often.
TOUCH_S = 60.0


@dataclass
class Usage:
    """Hits, misses, and which entries were used.

    Args:
        database: where that is written.
        figures: what this process counts for Prometheus.
        touch_s: an entry is written to once in such a time.
    """

    database: Database
    figures: Figures
    touch_s: float = TOUCH_S
    pending: Counter[str] = field(default_factory=Counter)
    _hits: Counter[str] = field(default_factory=Counter, repr=False)
    _touched: dict[str, float] = field(default_factory=dict, repr=False)

    def hit(self, entry: Entry) -> None:
        """Count that an entry has answered."""
        self._hits[entry.id] += 1
        self.pending[HITS] += 1
        self.pending[SAVED] += entry.seconds  # type: ignore[assignment]
        self.figures.cache_hits.inc()
        self.figures.cache_seconds_saved.inc(max(0.0, entry.seconds))

    def miss(self, count: int) -> None:
        """Count that things had to be made."""
        self.pending[MISSES] += count
        self.figures.cache_misses.inc(count)

    async def flush(self, *, last: bool = False) -> None:
        """Write down what was counted, and the entries whose time has come.

        Args:
            last: all of them.

        Raises:
            Unavailable: the database is away; nothing is forgotten.
        """
        now = time.monotonic()
        due = {
            entry: count
            for entry, count in self._hits.items()
            if last or now - self._touched.get(entry, float("-inf")) >= self.touch_s
        }
        figures = dict(self.pending)
        if not due and not figures:
            return

        def write(connection: Connection) -> None:
            entries.count(connection, figures)
            if due:
                entries.touch(connection, due)

        await self.database.write(write)
        self.pending.subtract(figures)
        self._hits.subtract(due)
        self.pending, self._hits = +self.pending, +self._hits
        self._touched |= dict.fromkeys(due, now)
        self._touched = {e: t for e, t in self._touched.items() if now - t < self.touch_s}
