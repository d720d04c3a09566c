"""The tables of the prediction cache; `migrations/versions/0002_cache.py` makes them."""

from __future__ import annotations

import sqlalchemy as sa

from nephra_gateway.store.schema import METADATA, Json, Words, tickets

#: Results that can be found again. A doomed one cannot: it has no key any more, its files go as
#: soon as no ticket names it, and its row goes last.
cache_entries = sa.Table(
    "cache_entries",
    METADATA,
    sa.Column("id", Words, primary_key=True),
    sa.Column("key", Words, unique=True),
    sa.Column("state", Words, nullable=False),
    sa.Column("operation", Words, nullable=False),
    sa.Column("ticket", Words, nullable=False),
    sa.Column("folder", Words),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("created_s", sa.Double, nullable=False),
    sa.Column("used_s", sa.Double, nullable=False),
    sa.Column("doomed_s", sa.Double),
    sa.Column("hits", sa.Integer, nullable=False),
    sa.Column("files", Json(), nullable=False),
    sa.Column("answer", Json(), nullable=False),
    sa.CheckConstraint("state IN ('whole', 'doomed', 'going')", "cache_entries_state"),
    sa.CheckConstraint("(state = 'whole') = (key IS NOT NULL)", "cache_entries_key"),
)
sa.Index("cache_entries_used", cache_entries.c.state, cache_entries.c.used_s)
sa.Index("cache_entries_ticket", cache_entries.c.ticket)
sa.Index("cache_entries_folder", cache_entries.c.folder)

#: What an entry is made of: entries that stay for as long as it does.
cache_parts = sa.Table(
    "cache_parts",
    METADATA,
    sa.Column(
        "entry", Words, sa.ForeignKey(cache_entries.c.id, ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("part", Words, primary_key=True),
)
sa.Index("cache_parts_part", cache_parts.c.part)

#: What a ticket was given while it ran: it must not go before the ticket names it itself.
cache_holds = sa.Table(
    "cache_holds",
    METADATA,
    sa.Column("ticket", Words, sa.ForeignKey(tickets.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("entry", Words, primary_key=True),
)
sa.Index("cache_holds_entry", cache_holds.c.entry)

#: Who makes what is not there yet. Without a token nobody does: the last one has failed.
cache_claims = sa.Table(
    "cache_claims",
    METADATA,
    sa.Column("key", Words, primary_key=True),
    sa.Column("token", Words),
    sa.Column("ticket", Words, nullable=False),
    sa.Column("until_s", sa.Double, nullable=False),
    sa.Column("failed_token", Words),
    sa.Column("problem", Json()),
)
sa.Index("cache_claims_token", cache_claims.c.token)

#: Tickets that are no more, whose folders are not yet gone.
cache_clearings = sa.Table(
    "cache_clearings",
    METADATA,
    sa.Column("ticket", Words, primary_key=True),
)

#: What is counted over all processes and all time.
cache_figures = sa.Table(
    "cache_figures",
    METADATA,
    sa.Column("name", Words, primary_key=True),
    sa.Column("value", sa.Double, nullable=False),
)
