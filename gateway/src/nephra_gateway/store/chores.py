"""What one process at a time does: sweep, deliver."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from nephra_gateway.store.clock import lapsed_s, now_s
from nephra_gateway.store.schema import chores


def mine(connection: Connection, name: str, holder: str, lease_s: float) -> bool:
    """Whether a chore is the holder's to do, for one lease; who has it keeps it by asking again.

    Args:
        connection: in a transaction that writes.
        name: of the chore.
        holder: who would do it.
        lease_s: until the holder has to ask again.
    """
    before_s, now = lapsed_s(connection, lease_s), now_s(connection)
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    new = insert(chores).values(name=name, holder=holder, lease_until_s=now + lease_s)
    take = new.on_conflict_do_update(
        index_elements=[chores.c.name],
        set_={"holder": new.excluded.holder, "lease_until_s": new.excluded.lease_until_s},
        where=sa.or_(chores.c.holder == holder, chores.c.lease_until_s < before_s),
    )
    return connection.execute(take.returning(chores.c.name)).one_or_none() is not None
