"""What holds when two transactions are under way at the same moment."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

import databases
from databases import LEASE_S
from nephra_gateway.store import chores, tickets, turns
from nephra_gateway.store.database import Database
from nephra_gateway.store.tickets import Asked

PATIENCE_S = 60.0

#: Who is let in by mistake has come in by then; who rightly waits costs a test so long.
_MOMENT_S = 0.3

Work = Callable[[Connection], Any]


def both(url: str, first: Work, second: Work) -> list[Any]:
    """What two works gave, the second begun when the first was done but not committed.

    Each has a database of its own, as two gateways do.
    """
    done, second_done = threading.Event(), threading.Event()

    def held(connection: Connection) -> Any:
        answer = first(connection)
        done.set()
        second_done.wait(_MOMENT_S)
        return answer

    async def run(one: Database, other: Database) -> list[Any]:
        before = asyncio.create_task(one.write(held))
        assert await asyncio.to_thread(done.wait, PATIENCE_S)
        after = await asyncio.gather(other.write(second), return_exceptions=True)
        second_done.set()
        return [await before, *after]

    with databases.asking(url) as one, databases.asking(url) as other:
        return asyncio.run(run(one.database, other.database))


def test_two_gateways_do_not_grant_the_same_turn(database_url: str) -> None:
    """Though the second one's request comes before the first one's."""
    take = partial(turns.take, predictor="p", step="s", lease_s=LEASE_S, limit=1)
    late = partial(take, ticket="late", holder="a", rank=(3, 2.0))
    urgent = partial(take, ticket="urgent", holder="b", rank=(0, 1.0))
    assert both(database_url, late, urgent) == [None, 1]


def test_two_gateways_do_not_claim_the_same_ticket(database_url: str) -> None:
    """The second takes the next one, or waits and finds none."""
    with databases.asking(database_url) as asker:
        asked = Asked(uuid.uuid4().hex, "o", {}, "me")
        asker.write(lambda c: tickets.submit(c, asked))
    claims = [partial(tickets.claim, holder=h, lease_s=LEASE_S, limit=1) for h in "ab"]
    first, second = both(database_url, *claims)
    assert len(first) == 1
    assert second == []


@pytest.mark.parametrize("done", [False, True])
def test_two_gateways_make_one_ticket_of_one_key(database_url: str, done: bool) -> None:
    """Whichever is first by a moment; the other one answers with it."""
    one, other = (Asked(uuid.uuid4().hex, "o", {"a": 1}, "me", idempotency_key="k") for _ in "ab")
    second: Work = partial(tickets.submit, asked=other)
    if done:
        second = partial(tickets.submit_done, asked=other, result={}, entries=["e"])
    found = both(database_url, partial(tickets.submit, asked=one), second)
    ticket, new = found[0]
    assert (ticket.id, new) == (one.id, True)
    assert found[1] == (ticket if done else (ticket, False))


def test_two_gateways_do_not_do_the_same_chore(database_url: str) -> None:
    """Not even when nobody has ever done it."""
    mine = [partial(chores.mine, name="sweep", holder=h, lease_s=LEASE_S) for h in "ab"]
    assert both(database_url, *mine) == [True, False]


def test_a_ticket_ends_once(database_url: str) -> None:
    """Cancelled by one gateway while another one finishes it: it has finished."""
    with databases.asking(database_url) as asker:
        asked = Asked(uuid.uuid4().hex, "o", {}, "me")
        asker.write(lambda c: tickets.submit(c, asked))
        [(lease, _)] = asker.write(lambda c: tickets.claim(c, "a", LEASE_S, 1))
        finish = partial(tickets.finish, lease=lease, state="succeeded", result={})
        _, after = both(database_url, finish, partial(tickets.cancel, ticket_id=asked.id))
        assert (after.state, after.last_event) == ("succeeded", 0)
        assert asker.read(lambda c: tickets.get(c, asked.id)) == after


def test_a_claim_and_a_cancellation_agree(database_url: str) -> None:
    """What is cancelled while it is claimed is told to the worker, or never claimed."""
    with databases.asking(database_url) as asker:
        asked = Asked(uuid.uuid4().hex, "o", {}, "me")
        asker.write(lambda c: tickets.submit(c, asked))
        claim = partial(tickets.claim, holder="a", lease_s=LEASE_S, limit=1)
        [(lease, _)], after = both(database_url, claim, partial(tickets.cancel, ticket_id=asked.id))
        assert (after.state, after.cancelling) == ("running", True)
        assert asker.write(lambda c: tickets.beat(c, [lease], LEASE_S)) == {asked.id: "cancelling"}
