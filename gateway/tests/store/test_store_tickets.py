"""What tickets promise, on every database."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from databases import LEASE_S, Asker
from nephra_contract.errors import RequestInvalid, Unprocessable
from nephra_contract.messages import Event
from nephra_gateway.store import tickets
from nephra_gateway.store.schema import ticket_entries, ticket_events
from nephra_gateway.store.schema import tickets as table
from nephra_gateway.store.tickets import Asked, Lease, LeaseLost, Ticket

#: A lease that no test outlives, and one that has passed when it begins.
ALIVE_S, DEAD_S = LEASE_S, -1.0
RESULT = {"ticket": "x", "mask_path": "m.nii.gz"}


def wanted(owner: str = "me", **members: Any) -> Asked:
    """Something to do."""
    request = members.pop("request", {"mask_path": "m.nii.gz"})
    operation = members.pop("operation", "postprocess/fat")
    return Asked(uuid.uuid4().hex, operation, request, owner, **members)


def submit(asker: Asker, **members: Any) -> Ticket:
    """Queue something."""
    return asker.write(lambda c: tickets.submit(c, wanted(**members)))[0]


def claim(
    asker: Asker, holder: str = "a", lease_s: float = ALIVE_S, limit: int = 1
) -> list[tuple[Lease, Ticket]]:
    """Take what is there."""
    return asker.write(lambda c: tickets.claim(c, holder, lease_s, limit))


def get(asker: Asker, ticket_id: str) -> Ticket:
    """A ticket that is there."""
    found = asker.read(lambda c: tickets.get(c, ticket_id))
    assert found is not None
    return found


def events(asker: Asker, ticket_id: str) -> list[tuple[int, Event]]:
    """All that happened to a ticket."""
    return asker.read(lambda c: tickets.events(c, ticket_id))


def progress(stage: str = "working") -> Event:
    """Something that happened."""
    return Event(event="progress", stage=stage, fraction=0.5)


def finish(asker: Asker, lease: Lease, **members: Any) -> None:
    """End a ticket well."""
    last = Event(event="result", result=RESULT)
    asker.write(
        lambda c: tickets.finish(c, lease, "succeeded", result=RESULT, events=[last], **members)
    )


# --- submitting ------------------------------------------------------------------------------


def test_a_new_ticket_is_queued_as_it_was_asked(asker: Asker) -> None:
    """All that was asked is there again, and nothing has happened yet."""
    asked = wanted(
        priority=1, idempotency_key="k", callback_url="https://backend.example/done", fresh=True
    )
    ticket, new = asker.write(lambda c: tickets.submit(c, asked))
    assert new
    assert ticket == get(asker, asked.id)
    assert {name: getattr(ticket, name) for name in Asked.__dataclass_fields__} == vars(asked)
    assert (ticket.state, ticket.fraction, ticket.steps, ticket.last_event) == ("queued", 0, {}, 0)
    assert (ticket.attempts, ticket.fence, ticket.holder, ticket.cached) == (0, 0, None, False)
    assert ticket.created_s == ticket.updated_s
    assert not ticket.ended


def test_the_same_key_gives_the_same_ticket(asker: Asker) -> None:
    """Who did not hear the answer may ask again."""
    first = submit(asker, idempotency_key="k")
    again, new = asker.write(lambda c: tickets.submit(c, wanted(idempotency_key="k")))
    assert (again, new) == (first, False)


def test_a_key_stands_for_one_request(asker: Asker) -> None:
    """The same key with another request, or operation, is refused."""
    submit(asker, idempotency_key="k")
    for other in ({"request": {"mask_path": "n.nii.gz"}}, {"operation": "postprocess/vessel"}):
        asked = wanted(idempotency_key="k", **other)
        with pytest.raises(Unprocessable) as refused:
            asker.write(partial(tickets.submit, asked=asked))
        assert refused.value.code == "idempotency_key_reused"
        with pytest.raises(Unprocessable):
            asker.write(partial(tickets.submit_done, asked=asked, result=RESULT, entries=[]))


def test_keys_are_of_their_owners(asker: Asker) -> None:
    """Another owner's equal key is another key, and none is equal to none."""
    assert submit(asker, idempotency_key="k") != submit(asker, owner="you", idempotency_key="k")
    assert submit(asker).id != submit(asker).id


def test_a_cached_answer_is_a_ticket_that_has_succeeded(asker: Asker) -> None:
    """It has its result, its event and its references at once."""
    asked = wanted(idempotency_key="k")
    ticket = asker.write(lambda c: tickets.submit_done(c, asked, RESULT, ["e", "f", "e"]))
    assert ticket == get(asker, asked.id)
    assert (ticket.state, ticket.cached, ticket.result) == ("succeeded", True, RESULT)
    assert ticket.ended_s == ticket.created_s
    assert events(asker, asked.id) == [(1, Event(event="result", result=RESULT))]
    assert entries(asker, asked.id) == ["e", "f"]
    again = wanted(idempotency_key="k")
    assert asker.write(lambda c: tickets.submit_done(c, again, RESULT, ["e"])) == ticket
    assert claim(asker) == []


def entries(asker: Asker, ticket_id: str) -> list[str]:
    """What a ticket keeps of the cache."""
    query = sa.select(ticket_entries.c.entry).where(ticket_entries.c.ticket == ticket_id)
    return sorted(asker.read(lambda c: list(c.execute(query).scalars())))


def test_text_that_no_database_can_hold_is_held(asker: Asker) -> None:
    """NUL and halves of pairs in names, any character in JSON; numbers JSON lacks are null."""
    request = {"a": "nul \0, half \ud800, 𝒳", "b": [float("nan"), {"c": float("inf")}], "d": 0.1}
    ticket = submit(asker, owner="o\0\ud800", request=request)
    assert get(asker, ticket.id).owner == "o\ufffd\ufffd"
    assert get(asker, ticket.id).request == {**request, "b": [None, {"c": None}]}
    found, _ = asker.read(lambda c: tickets.page(c, owner="o\0\ud800"))
    assert [t.id for t in found] == [ticket.id]
    assert asker.read(lambda c: tickets.get(c, "\0")) is None


# --- claiming --------------------------------------------------------------------------------


def test_the_most_urgent_is_claimed_first_then_the_oldest(asker: Asker) -> None:
    """By priority, and by age among equals."""
    order = [submit(asker, priority=p).id for p in (3, 7, 3, 0, 3)]
    taken = [ticket.id for _, ticket in claim(asker, limit=3)]
    taken += [ticket.id for _, ticket in claim(asker, limit=9)]
    assert taken == [order[i] for i in (3, 0, 2, 4, 1)]
    assert claim(asker) == []


def test_a_claim_gives_the_ticket_as_it_is_then(asker: Asker) -> None:
    """Running, with its holder, an attempt more, and the number that fences others off."""
    submit(asker)
    [(lease, ticket)] = claim(asker, "me")
    assert ticket == get(asker, lease.ticket)
    assert lease == Lease(ticket.id, "me", 1)
    assert (ticket.state, ticket.holder, ticket.fence, ticket.attempts) == ("running", "me", 1, 1)
    assert ticket.started_s == ticket.updated_s


def test_a_ticket_goes_on_where_its_worker_was_lost(asker: Asker) -> None:
    """A lease that has passed is claimed again, with what was recorded, and a larger fence."""
    submit(asker)
    [(lost, before)] = claim(asker, "dead", DEAD_S)
    asker.write(lambda c: tickets.record(c, lost, [progress()], steps={"one": {"done": True}}))
    [(lease, ticket)] = claim(asker, "alive")
    assert (lease.fence, ticket.attempts) == (2, 2)
    assert ticket.steps == {"one": {"done": True}}
    assert ticket.started_s == before.started_s
    assert claim(asker, "third") == []


def test_who_was_lost_comes_before_who_has_waited(asker: Asker) -> None:
    """A lapsed ticket has its place by priority and age, among the queued."""
    first, urgent = submit(asker), None
    claim(asker, "dead", DEAD_S)
    second, urgent = submit(asker), submit(asker, priority=0)
    taken = [ticket.id for _, ticket in claim(asker, limit=2)]
    assert taken == [urgent.id, first.id]
    assert [ticket.id for _, ticket in claim(asker, limit=2)] == [second.id]


def test_a_ticket_that_kills_its_workers_ends(asker: Asker) -> None:
    """After three of them it has failed, and says so in its problem and its last event."""
    ticket = submit(asker)
    for _ in range(3):
        assert len(claim(asker, "dead", DEAD_S)) == 1
    assert claim(asker, "alive") == []
    ended = get(asker, ticket.id)
    assert (ended.state, ended.attempts, ended.holder) == ("failed", 3, None)
    assert ended.problem is not None
    assert (ended.problem["code"], ended.problem["status"]) == ("ticket_poisoned", 502)
    assert events(asker, ticket.id) == [(1, Event(event="problem", problem=ended.problem))]


def test_a_poisoned_ticket_does_not_stand_before_others(asker: Asker) -> None:
    """The claim that ends it gives the next one."""
    submit(asker)
    for _ in range(3):
        claim(asker, "dead", DEAD_S)
    other = submit(asker)
    assert [ticket.id for _, ticket in claim(asker)] == [other.id]


def test_a_ticket_that_comes_further_is_not_poisoned(asker: Asker) -> None:
    """A finished step lets attempts be counted anew."""
    submit(asker)
    for _ in range(5):
        [(lease, _)] = claim(asker, "dead", DEAD_S)
        asker.write(partial(tickets.record, lease=lease, events=[], progressed=True))
    assert claim(asker)[0][1].attempts == 1


def test_what_is_given_back_is_queued_again(asker: Asker) -> None:
    """In its old place, and not as an attempt that failed."""
    first, second = submit(asker), submit(asker)
    for _ in range(5):
        [(lease, ticket)] = claim(asker)
        assert (ticket.id, ticket.attempts) == (first.id, 1)
        asker.write(partial(tickets.give_back, lease=lease))
    assert get(asker, first.id).state == "queued"
    assert [t.id for _, t in claim(asker, limit=2)] == [first.id, second.id]


# --- writing ---------------------------------------------------------------------------------


def test_beats_keep_a_ticket(asker: Asker) -> None:
    """Nobody can claim it any more, even if its lease had passed before."""
    submit(asker)
    [(lease, _)] = claim(asker, "a", DEAD_S)
    assert asker.write(lambda c: tickets.beat(c, [lease], ALIVE_S)) == {lease.ticket: "held"}
    assert claim(asker, "b") == []
    assert asker.write(lambda c: tickets.beat(c, [], ALIVE_S)) == {}


def test_beats_say_what_has_become_of_each(asker: Asker) -> None:
    """Held, cancelling, or lost: to another worker, by its end, or with its row."""
    for _ in range(3):
        submit(asker)
    held, stopped, ended = (lease for lease, _ in claim(asker, "a", ALIVE_S, 3))
    submit(asker)
    [(taken, _)] = claim(asker, "a", DEAD_S)
    claim(asker, "b")
    asker.write(lambda c: tickets.cancel(c, stopped.ticket))
    finish(asker, ended)
    none = Lease("0" * 32, "a", 1)
    found = asker.write(lambda c: tickets.beat(c, [held, stopped, ended, taken, none], ALIVE_S))
    assert found == {
        held.ticket: "held",
        stopped.ticket: "cancelling",
        ended.ticket: "lost",
        taken.ticket: "lost",
        none.ticket: "lost",
    }


def test_events_are_numbered_and_kept_as_they_were(asker: Asker) -> None:
    """From 1, without a gap, also from several records; and any part can be asked for."""
    submit(asker)
    [(lease, _)] = claim(asker)
    said = [progress(f"stage {n}") for n in range(5)]
    assert asker.write(lambda c: tickets.record(c, lease, said[:2])) == 2
    assert asker.write(lambda c: tickets.record(c, lease, [])) == 2
    assert asker.write(lambda c: tickets.record(c, lease, said[2:])) == 5
    assert events(asker, lease.ticket) == list(enumerate(said, 1))
    found = asker.read(lambda c: tickets.events(c, lease.ticket, after=1, limit=2))
    assert found == [(2, said[1]), (3, said[2])]


def test_records_change_what_they_name_alone(asker: Asker) -> None:
    """What is not given stays."""
    submit(asker)
    [(lease, before)] = claim(asker)
    asker.write(lambda c: tickets.record(c, lease, [], stage="s", fraction=0.25, steps={"a": {}}))
    asker.write(lambda c: tickets.record(c, lease, [progress()]))
    ticket = get(asker, lease.ticket)
    assert (ticket.stage, ticket.fraction, ticket.steps) == ("s", 0.25, {"a": {}})
    assert (ticket.attempts, ticket.state) == (before.attempts, "running")
    assert ticket.updated_s >= before.updated_s


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_a_finished_ticket_has_ended(asker: Asker, state: Any) -> None:
    """With its result or problem, events and references; nobody has it, and nobody gets it."""
    submit(asker)
    [(lease, _)] = claim(asker, "a", DEAD_S)
    result, problem = (RESULT, None) if state == "succeeded" else (None, {"code": "x"})
    asker.write(
        lambda c: tickets.finish(
            c, lease, state, result=result, problem=problem, entries=["e", "e"], events=[progress()]
        )
    )
    ticket = get(asker, lease.ticket)
    assert ticket.ended
    assert (ticket.state, ticket.result, ticket.problem) == (state, result, problem)
    assert (ticket.holder, ticket.last_event) == (None, 1)
    assert ticket.fraction == (1.0 if state == "succeeded" else 0.0)
    assert entries(asker, ticket.id) == ["e"]
    assert claim(asker) == []


@pytest.mark.parametrize("how", ["claimed", "ended", "given back", "expired", "stranger"])
def test_who_has_lost_the_lease_cannot_write(asker: Asker, how: str) -> None:
    """Whether somebody else has the ticket, or nobody: nothing of it changes."""
    submit(asker)
    [(lease, _)] = claim(asker, "a", DEAD_S)
    if how == "claimed":
        claim(asker, "a")  # the same process, later
    elif how == "given back":
        asker.write(lambda c: tickets.give_back(c, lease))
    elif how == "stranger":
        lease = Lease(lease.ticket, "b", lease.fence)
    else:
        finish(asker, lease)
    if how == "expired":
        asker.write(lambda c: tickets.expire(c, -1, 9))
    before = asker.read(lambda c: tickets.get(c, lease.ticket))
    for work in (
        lambda c: tickets.record(c, lease, [progress()], stage="late"),
        lambda c: tickets.finish(c, lease, "succeeded", entries=["e"], events=[progress()]),
        lambda c: tickets.give_back(c, lease),
    ):
        with pytest.raises(LeaseLost):
            asker.write(work)
    assert asker.read(lambda c: tickets.get(c, lease.ticket)) == before


# --- cancelling ------------------------------------------------------------------------------


def test_a_queued_ticket_is_cancelled_at_once(asker: Asker) -> None:
    """With its problem, its last event, and nobody to claim it."""
    ticket = submit(asker)
    ended = asker.write(lambda c: tickets.cancel(c, ticket.id))
    assert ended == get(asker, ticket.id)
    assert ended.state == "cancelled"
    assert ended.problem is not None
    assert (ended.problem["code"], ended.problem["status"]) == ("cancelled", 499)
    assert events(asker, ticket.id) == [(1, Event(event="problem", problem=ended.problem))]
    assert claim(asker) == []


def test_a_running_ticket_is_cancelled_by_its_worker(asker: Asker) -> None:
    """It is told so at its next beat, and asking twice changes nothing more."""
    submit(asker)
    [(lease, _)] = claim(asker)
    told = asker.write(lambda c: tickets.cancel(c, lease.ticket))
    assert told is not None
    assert (told.state, told.cancelling) == ("running", True)
    assert asker.write(lambda c: tickets.cancel(c, lease.ticket)) == told
    asker.write(lambda c: tickets.finish(c, lease, "cancelled", problem={"code": "cancelled"}))
    assert get(asker, lease.ticket).state == "cancelled"


@pytest.mark.parametrize("how", ["lost", "given back"])
def test_a_cancelled_ticket_without_a_worker_ends(asker: Asker, how: str) -> None:
    """Whoever comes next ends it instead of working on it."""
    submit(asker)
    [(lease, _)] = claim(asker, "a", DEAD_S)
    asker.write(lambda c: tickets.cancel(c, lease.ticket))
    if how == "given back":
        asker.write(lambda c: tickets.give_back(c, lease))
    assert claim(asker, "b") == []
    ended = get(asker, lease.ticket)
    assert (ended.state, ended.last_event) == ("cancelled", 1)


def test_what_has_ended_is_not_cancelled(asker: Asker) -> None:
    """Nor is what is not there."""
    submit(asker)
    [(lease, _)] = claim(asker)
    finish(asker, lease)
    before = get(asker, lease.ticket)
    assert asker.write(lambda c: tickets.cancel(c, lease.ticket)) == before
    assert get(asker, lease.ticket) == before
    assert asker.write(lambda c: tickets.cancel(c, "0" * 32)) is None


# --- looking ---------------------------------------------------------------------------------


def pages(asker: Asker, limit: int, **members: Any) -> list[str]:
    """All ids, page by page."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        found, cursor = asker.read(
            partial(tickets.page, **{"owner": None, **members}, limit=limit, cursor=cursor)
        )
        assert len(found) == limit or cursor is None
        ids += [ticket.id for ticket in found]
        if cursor is None:
            return ids


def test_pages_give_each_ticket_once_newest_first(asker: Asker) -> None:
    """Whatever their size, and even where several were made at the same time."""
    ids = [submit(asker).id for _ in range(7)]
    asker.write(lambda c: c.execute(table.update().where(table.c.id != ids[0]).values(created_s=9)))
    for limit in (1, 2, 3, 7, 50):
        assert pages(asker, limit) == [ids[0], *sorted(ids[1:], reverse=True)]


def test_a_page_does_not_move_when_new_tickets_come(asker: Asker) -> None:
    """The next one goes on where the first ended."""
    ids = [submit(asker).id for _ in range(4)]
    _, cursor = asker.read(lambda c: tickets.page(c, owner=None, limit=2))
    submit(asker)
    found, _ = asker.read(lambda c: tickets.page(c, owner=None, limit=2, cursor=cursor))
    assert [ticket.id for ticket in found] == [ids[1], ids[0]]


def test_pages_can_be_of_some_tickets_only(asker: Asker) -> None:
    """Of an owner, of states, of an operation, and of all three."""
    mine, yours = submit(asker, operation="cases"), submit(asker, owner="you")
    asker.write(lambda c: tickets.cancel(c, mine.id))
    other = submit(asker)
    assert pages(asker, 9, owner="me") == [other.id, mine.id]
    assert pages(asker, 9, states={"cancelled"}) == [mine.id]
    assert pages(asker, 9, states={"cancelled", "queued"}) == [other.id, yours.id, mine.id]
    assert pages(asker, 9, operation="cases") == [mine.id]
    assert pages(asker, 9, owner="you", states={"queued"}, operation="cases") == []


def test_a_strange_cursor_is_refused(asker: Asker) -> None:
    """In a sentence, whatever it is."""
    strange = ["", "x", "!!!!", "bnVsbA==", "WzEsMl0=", "WyJhIiwiYiJd", "W05hTiwiYSJd"]
    for cursor in (*strange, "\ud800", "ü", "["):
        with pytest.raises(RequestInvalid):
            asker.read(partial(tickets.page, owner=None, cursor=cursor))


def test_a_position_is_how_many_come_before(asker: Asker) -> None:
    """By priority and age; none for what is not queued."""
    old, urgent, late = submit(asker), submit(asker, priority=0), submit(asker)
    waiting = {urgent.id: 0, old.id: 1, late.id: 2}
    found = {t.id: asker.read(partial(tickets.position, ticket=t)) for t in (old, urgent, late)}
    assert found == waiting
    [(_, running)] = claim(asker)
    assert running.id == urgent.id
    assert asker.read(lambda c: tickets.position(c, running)) is None
    ids = [*waiting, "0" * 32]
    assert asker.read(lambda c: tickets.positions(c, ids)) == {old.id: 0, late.id: 1}
    assert asker.read(lambda c: tickets.positions(c, [])) == {}


def test_versions_say_what_has_changed(asker: Asker) -> None:
    """State and last event of each that is there."""
    waiting = submit(asker)
    submit(asker, priority=0)
    [(lease, _)] = claim(asker)
    asker.write(lambda c: tickets.record(c, lease, [progress(), progress()]))
    ids = [waiting.id, lease.ticket, "0" * 32]
    found = asker.read(lambda c: tickets.versions(c, ids))
    assert found == {waiting.id: ("queued", 0), lease.ticket: ("running", 2)}
    assert asker.read(lambda c: tickets.versions(c, [])) == {}


def test_figures_tell_of_the_queue(asker: Asker) -> None:
    """How many wait and run, and how long the oldest has waited."""
    assert asker.read(tickets.queue) == tickets.Queue(0, 0.0, 0)
    submit(asker)
    claim(asker)
    old = submit(asker)
    submit(asker)
    asker.write(
        lambda c: c.execute(
            table.update().where(table.c.id == old.id).values(created_s=table.c.created_s - 100)
        )
    )
    found = asker.read(tickets.queue)
    assert (found.queued, found.running) == (2, 1)
    assert 100 <= found.oldest_s < 160


def test_old_tickets_go_with_all_that_is_theirs(asker: Asker) -> None:
    """The oldest first; what has not ended, or not long ago, stays."""
    ids = [submit(asker).id for _ in range(4)]
    for lease, _ in claim(asker, limit=3):
        asker.write(partial(tickets.record, lease=lease, events=[progress()]))
        finish(asker, lease, entries=["e"])
    assert asker.write(lambda c: tickets.expire(c, 3600, 9)) == []
    assert asker.write(lambda c: tickets.expire(c, -1, 2)) == ids[:2]
    assert asker.write(lambda c: tickets.expire(c, -1, 9)) == ids[2:3]
    assert get(asker, ids[3]).state == "queued"
    for rows in (ticket_events, ticket_entries):
        found = partial(
            sa.Connection.scalar, statement=sa.select(sa.func.count()).select_from(rows)
        )
        assert asker.read(found) == 0
