"""The tables, the same on SQLite and PostgreSQL; `migrations/` makes them.

All times are seconds since 1970, of the database's clock (`clock.now_s`).
"""

from __future__ import annotations

import json
import math
from typing import Any

import sqlalchemy as sa

METADATA = sa.MetaData()


class Words(sa.types.TypeDecorator[str]):
    """Text from anywhere: what no database can hold (NUL, half of a pair) becomes U+FFFD."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """What is stored, and looked for."""
        del dialect
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return (
            value.encode("utf-16", "surrogatepass")
            .decode("utf-16", "replace")
            .replace("\0", "\ufffd")
        )


def Json() -> sa.JSON:  # noqa: N802 - reads as the type that it gives
    """A JSON document; None is NULL."""
    return sa.JSON(none_as_null=True)


def dumps(value: Any) -> str:
    """A JSON document as text; numbers that JSON does not know (NaN, infinity) are null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


#: Written out: a partial index serves only who names its condition, not a parameter.
QUEUED = sa.literal_column("'queued'", sa.Text)
RUNNING = sa.literal_column("'running'", sa.Text)

#: Large columns come last: SQLite then finds the small ones without them.
tickets = sa.Table(
    "tickets",
    METADATA,
    sa.Column("id", Words, primary_key=True),
    sa.Column("operation", Words, nullable=False),
    sa.Column("owner", Words, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("state", Words, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("updated_s", sa.Double, nullable=False),
    sa.Column("started_s", sa.Double),
    sa.Column("ended_s", sa.Double),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("holder", Words),
    sa.Column("lease_until_s", sa.Double),
    sa.Column("cancelling", sa.Boolean, nullable=False),
    sa.Column("cached", sa.Boolean, nullable=False),
    sa.Column("fresh", sa.Boolean, nullable=False),
    sa.Column("last_event", sa.Integer, nullable=False),
    sa.Column("fraction", sa.Double, nullable=False),
    sa.Column("stage", Words, nullable=False),
    sa.Column("idempotency_key", Words),
    sa.Column("callback_url", Words),
    sa.Column("trace", Words),
    sa.Column("request", Json(), nullable=False),
    sa.Column("steps", Json(), nullable=False),
    sa.Column("problem", Json()),
    sa.Column("result", Json()),
    sa.CheckConstraint(
        "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", "tickets_state"
    ),
    sa.CheckConstraint("priority BETWEEN 0 AND 7", "tickets_priority"),
)

sa.Index(
    "tickets_queued",
    tickets.c.priority,
    tickets.c.created_s,
    tickets.c.id,
    sqlite_where=tickets.c.state == QUEUED,
    postgresql_where=tickets.c.state == QUEUED,
)
sa.Index(
    "tickets_running",
    tickets.c.lease_until_s,
    sqlite_where=tickets.c.state == RUNNING,
    postgresql_where=tickets.c.state == RUNNING,
)
sa.Index("tickets_ended", tickets.c.ended_s)
sa.Index("tickets_state", tickets.c.state, tickets.c.created_s, tickets.c.id)
sa.Index("tickets_created", tickets.c.created_s, tickets.c.id)
sa.Index("tickets_owner", tickets.c.owner, tickets.c.created_s, tickets.c.id)
sa.Index("tickets_idempotency", tickets.c.owner, tickets.c.idempotency_key, unique=True)

ticket_events = sa.Table(
    "ticket_events",
    METADATA,
    sa.Column("ticket", Words, sa.ForeignKey(tickets.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("event", Json(), nullable=False),
)

#: Which entries of the cache a kept ticket names.
ticket_entries = sa.Table(
    "ticket_entries",
    METADATA,
    sa.Column("ticket", Words, sa.ForeignKey(tickets.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("entry", Words, primary_key=True),
)
sa.Index("ticket_entries_entry", ticket_entries.c.entry)

#: Who waits for a predictor, and who has it.
turns = sa.Table(
    "turns",
    METADATA,
    sa.Column("predictor", Words, primary_key=True),
    sa.Column("ticket", Words, primary_key=True),
    sa.Column("step", Words, primary_key=True),
    sa.Column("holder", Words, primary_key=True),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("since_s", sa.Double, nullable=False),
    sa.Column("granted", sa.Boolean, nullable=False),
    sa.Column("lease_until_s", sa.Double, nullable=False),
)
sa.Index("turns_holder", turns.c.holder)

#: What one process at a time does.
chores = sa.Table(
    "chores",
    METADATA,
    sa.Column("name", Words, primary_key=True),
    sa.Column("holder", Words, nullable=False),
    sa.Column("lease_until_s", sa.Double, nullable=False),
)
