"""Who makes what the cache does not hold: one at a time for each key, over all processes.

A claim is its maker's until somebody else takes it, which can be done once its lease has passed;
a maker that comes back then cannot register anything. Each claim has a token of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from nephra_gateway.store.cache_schema import cache_claims
from nephra_gateway.store.clock import lapsed_s, now_s
from nephra_gateway.store.entries import Entry, Result, find, find_all, insert, put

#: How long a failure can be read by those who waited for it; they look several times a second.
_FAILURE_S = 60.0


@dataclass(frozen=True)
class Claimed:
    """What has become of the wish to make some things.

    Args:
        found: by key, what is there already.
        taken: keys that are to be made now.
        others: by key, the token of whoever makes it. What is in none of the three has just
            been given up.
    """

    found: Mapping[str, Entry]
    taken: frozenset[str]
    others: Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """What has become of something that somebody else makes.

    Args:
        entry: it is there.
        problem: it has failed, and why.
        token: of who makes it now; with none of the three it is nobody's.
    """

    entry: Entry | None = None
    problem: dict[str, Any] | None = None
    token: str | None = None


def claim(
    connection: Connection,
    tokens: Mapping[str, str],
    ticket: str,
    lease_s: float,
    after_s: float = float("-inf"),
) -> Claimed:
    """Wish to make what is not there; whose lease has passed, or who has failed, gives way.

    Args:
        connection: in a transaction that writes.
        tokens: by key, the token of the new claim.
        ticket: that it is made for.
        lease_s: until it has to be prolonged.
        after_s: an older entry does not count.
    """
    before_s, now = lapsed_s(connection, lease_s), now_s(connection)
    taken, others = set(), {}
    for key in sorted(tokens):  # in one order, so that two cannot wait for each other
        new = insert(connection, cache_claims).values(
            key=key, token=tokens[key], ticket=ticket, until_s=now + lease_s
        )
        named = {n: new.excluded[n] for n in ("token", "ticket", "until_s")}
        free = sa.or_(
            cache_claims.c.token.is_(None),
            cache_claims.c.token == new.excluded.token,
            cache_claims.c.until_s < before_s,
        )
        take = new.on_conflict_do_update(index_elements=["key"], set_=named, where=free)
        if connection.execute(take.returning(cache_claims.c.key)).one_or_none() is not None:
            taken.add(key)
    # Whoever held a claim may have registered its result just before this one was taken.
    found = find_all(connection, tokens, after_s)
    drop(connection, [tokens[key] for key in taken & set(found)])
    rest = [key for key in tokens if key not in taken and key not in found]
    for row in connection.execute(_claims(rest)):
        others[row.key] = row.token
    others = {key: token for key, token in others.items() if token is not None}
    return Claimed(found, frozenset(taken - set(found)), others)


def beat(connection: Connection, tokens: Collection[str], lease_s: float) -> set[str]:
    """Prolong claims; gives the tokens of those that are still held."""
    if not tokens:
        return set()
    change = (
        cache_claims.update()
        .where(cache_claims.c.token.in_(list(tokens)))
        .values(until_s=now_s(connection) + lease_s)
        .returning(cache_claims.c.token)
    )
    return {row.token for row in connection.execute(change)}


def register(connection: Connection, token: str, result: Result) -> Entry | None:
    """Keep what a claim was for; None if the claim is lost: then it is not kept."""
    mine = sa.and_(cache_claims.c.key == result.key, cache_claims.c.token == token)
    if connection.execute(cache_claims.delete().where(mine)).rowcount:
        put(connection, result)
    # The answer to an earlier attempt at this may have been lost on the way: it is there then.
    entry = find(connection, result.key)
    return entry if entry is not None and entry.id == result.id else None


def fail(connection: Connection, tokens: Collection[str], problem: Mapping[str, Any]) -> None:
    """Tell those who wait for these claims why there will be nothing; later ones may try again."""
    change = cache_claims.update().where(cache_claims.c.token.in_(list(tokens)))
    connection.execute(
        change.values(
            failed_token=cache_claims.c.token,
            token=None,
            problem=dict(problem),
            until_s=now_s(connection) + _FAILURE_S,
        )
    )


def drop(connection: Connection, tokens: Iterable[str]) -> None:
    """Give claims up; one of those who wait takes over."""
    given = list(tokens)
    if given:
        connection.execute(cache_claims.delete().where(cache_claims.c.token.in_(given)))


def look(
    connection: Connection, waited: Mapping[str, str], after_s: Mapping[str, float], lease_s: float
) -> dict[str, Seen]:
    """See what has become of what others make.

    Args:
        connection: in a transaction.
        waited: by key, the token that is waited for.
        after_s: by key, an older entry does not count.
        lease_s: how long a claim's lease is.
    """
    found = find_all(connection, waited)
    before_s = lapsed_s(connection, lease_s)
    rows = {row.key: row for row in connection.execute(_claims(waited))}
    seen = {}
    for key, token in waited.items():
        entry, row = found.get(key), rows.get(key)
        if entry is not None and entry.created_s >= after_s.get(key, float("-inf")):
            seen[key] = Seen(entry=entry)
        elif row is None:
            seen[key] = Seen()
        elif row.failed_token == token:
            seen[key] = Seen(problem=row.problem)
        else:
            alive = row.token is not None and row.until_s >= before_s
            seen[key] = Seen(token=row.token if alive else None)
    return seen


def tidy(connection: Connection) -> None:
    """Forget failures that nobody waits for any more, and claims of makers long dead."""
    old = cache_claims.c.until_s < now_s(connection) - _FAILURE_S
    connection.execute(cache_claims.delete().where(old))


def _claims(keys: Collection[str]) -> sa.Select[Any]:
    return sa.select(
        cache_claims.c.key,
        cache_claims.c.token,
        cache_claims.c.until_s,
        cache_claims.c.failed_token,
        cache_claims.c.problem,
    ).where(cache_claims.c.key.in_(list(keys)))
