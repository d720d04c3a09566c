"""The time that leases are measured with: one clock for all processes that share a database.

PostgreSQL's own, since the clocks of hosts differ; on SQLite all processes are on one host.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from sqlalchemy import Connection

_NOW = sa.text("SELECT extract(epoch FROM clock_timestamp())::double precision")
_STARTED = sa.text(
    "SELECT extract(epoch FROM clock_timestamp())::double precision,"
    " extract(epoch FROM pg_postmaster_start_time())::double precision"
)


def now_s(connection: Connection) -> float:
    """Seconds since 1970, by the database's clock."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(_NOW).scalar_one())


def lapsed_s(connection: Connection, lease_s: float) -> float:
    """Who takes leases over takes only those that ended before this time.

    Nobody could beat while a server was away. After it has started, holders have one lease's
    time to be heard again, before others take from them what they still work on.

    Args:
        connection: in a transaction.
        lease_s: how long a lease is.
    """
    return moment(connection, lease_s)[1]


def moment(connection: Connection, lease_s: float) -> tuple[float, float]:
    """Both at once: `now_s` and `lapsed_s`."""
    if connection.dialect.name == "sqlite":
        now = time.time()
        return now, now
    now, started = connection.execute(_STARTED).one()
    return float(now), float(now) if now - started > lease_s else float("-inf")
