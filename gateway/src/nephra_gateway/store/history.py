"""How long work took before."""

from __future__ import annotations

from statistics import median

import sqlalchemy as sa
from sqlalchemy import Connection

from nephra_gateway.store.schema import tickets

#: So many of the last ones are looked at.
_LAST = 9


def usual_s(connection: Connection, operation: str) -> float | None:
    """Seconds that an operation usually takes, waiting not counted as far as that is known.

    The median of the last tickets that were worked on; None where there were none.
    """
    rows = connection.execute(
        sa.select(tickets.c.ended_s - tickets.c.started_s)
        .where(
            tickets.c.operation == operation,
            tickets.c.state == "succeeded",
            sa.not_(tickets.c.cached),
            tickets.c.started_s.is_not(None),
        )
        .order_by(tickets.c.ended_s.desc())
        .limit(_LAST)
    )
    found = [float(seconds) for (seconds,) in rows]
    return median(found) if found else None
