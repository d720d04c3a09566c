"""What turns at predictors and chores promise, on every database."""

from __future__ import annotations

from databases import LEASE_S, Asker
from nephra_gateway.store import chores, turns
from nephra_gateway.store.turns import Waiting

ALIVE_S, DEAD_S = LEASE_S, -1.0


def take(
    asker: Asker,
    ticket: str,
    *,
    holder: str = "a",
    predictor: str = "nnunet",
    rank: tuple[int, float] = (3, 1.0),
    lease_s: float = ALIVE_S,
    limit: int = 1,
) -> int | None:
    """Ask for a turn."""
    return asker.write(
        lambda c: turns.take(c, predictor, ticket, "step", holder, rank, lease_s, limit)
    )


def give(asker: Asker, ticket: str, *, holder: str = "a", predictor: str = "nnunet") -> None:
    """Give a turn back."""
    asker.write(lambda c: turns.give(c, predictor, ticket, "step", holder))


def test_there_are_as_many_turns_as_the_limit_says(asker: Asker) -> None:
    """Who comes later waits until one is given back."""
    assert [take(asker, t, limit=2) for t in ("a", "b", "c")] == [None, None, 2]
    give(asker, "a")
    assert take(asker, "c", limit=2) is None


def test_who_has_a_turn_has_it_however_often_asked(asker: Asker) -> None:
    """A second request for it takes no second one."""
    assert [take(asker, "a") for _ in range(3)] == [None] * 3
    assert take(asker, "b") == 1
    give(asker, "a")
    give(asker, "a")
    assert take(asker, "b") is None


def test_the_most_urgent_comes_first_then_the_oldest(asker: Asker) -> None:
    """Whoever asks first once it is free."""
    take(asker, "now")
    ranks = {"late": (3, 2.0), "old": (3, 1.0), "urgent": (0, 3.0)}
    for ticket, rank in ranks.items():
        take(asker, ticket, rank=rank)
    assert [take(asker, t, rank=ranks[t]) for t in ("urgent", "old", "late")] == [1, 2, 3]
    give(asker, "now")
    order = []
    for _ in ranks:
        granted = [t for t in ranks if t not in order and take(asker, t, rank=ranks[t]) is None]
        order += granted
        give(asker, granted[0])
    assert order == ["urgent", "old", "late"]


def test_free_turns_go_past_nobody(asker: Asker) -> None:
    """Of two free ones, the second in the row may have one, though the first has not asked yet."""
    for ticket, when in (("a", 1.0), ("b", 2.0)):
        assert take(asker, ticket, rank=(3, when), limit=2) is None
    for ticket, when in (("c", 3.0), ("d", 4.0), ("e", 5.0)):
        take(asker, ticket, rank=(3, when), limit=2)
    give(asker, "a")
    give(asker, "b")
    assert take(asker, "e", rank=(3, 5.0), limit=2) == 2
    assert take(asker, "d", rank=(3, 4.0), limit=2) is None
    assert take(asker, "c", rank=(3, 3.0), limit=2) is None


def test_predictors_have_turns_of_their_own(asker: Asker) -> None:
    """Nobody waits for another one's."""
    assert take(asker, "a") is None
    assert take(asker, "b", predictor="smoothing") is None


def test_the_dead_have_no_turn(asker: Asker) -> None:
    """Neither one that they had, nor a place in the row."""
    take(asker, "a", lease_s=DEAD_S, holder="dead")
    assert take(asker, "b") is None
    take(asker, "first", rank=(0, 0.0), lease_s=DEAD_S, holder="dead")
    assert take(asker, "c") == 1
    give(asker, "b")
    assert take(asker, "c") is None


def test_beats_keep_a_turn(asker: Asker) -> None:
    """Of all that a holder has; who only waits beats by asking."""
    take(asker, "a", lease_s=DEAD_S)
    take(asker, "m", predictor="smoothing", lease_s=DEAD_S)
    take(asker, "b", lease_s=DEAD_S, holder="b")  # the lease of the first has passed: granted
    assert asker.write(lambda c: turns.beat(c, "b", ALIVE_S)) == {("b", "step")}
    assert asker.write(lambda c: turns.beat(c, "a", ALIVE_S)) == {("m", "step")}
    assert take(asker, "c") == 1
    assert take(asker, "n", predictor="smoothing") == 1


def test_a_later_holder_of_a_ticket_waits_for_the_former(asker: Asker) -> None:
    """Its predictor may be at work for it still; when its lease has passed it is not asked."""
    take(asker, "t", holder="former")
    assert take(asker, "t", holder="later") == 1
    give(asker, "t", holder="later")
    give(asker, "t", holder="former")
    assert take(asker, "t", holder="later") is None


def test_figures_tell_who_waits(asker: Asker) -> None:
    """For each predictor: how many wait, for how long, and how many are at it."""
    assert asker.read(turns.figures) == {}
    take(asker, "a")
    take(asker, "b")
    take(asker, "c")
    take(asker, "m", predictor="smoothing")
    take(asker, "x", predictor="gone", lease_s=DEAD_S)
    found = asker.read(turns.figures)
    assert found.keys() == {"nnunet", "smoothing"}
    assert (found["nnunet"].waiting, found["nnunet"].held) == (2, 1)
    assert 0 <= found["nnunet"].oldest_s < 60
    assert found["smoothing"] == Waiting(0, 0.0, 1)


def mine(asker: Asker, holder: str, lease_s: float = ALIVE_S, name: str = "sweep") -> bool:
    """Ask for a chore."""
    return asker.write(lambda c: chores.mine(c, name, holder, lease_s))


def test_a_chore_is_done_by_one(asker: Asker) -> None:
    """Until its lease has passed; another chore may be another's."""
    assert [mine(asker, h) for h in ("a", "b", "a")] == [True, False, True]
    assert mine(asker, "b", name="deliver")


def test_a_chore_of_the_dead_is_done_by_another(asker: Asker) -> None:
    """Who comes back then has it no more."""
    assert mine(asker, "dead", DEAD_S)
    assert mine(asker, "alive")
    assert not mine(asker, "dead")
