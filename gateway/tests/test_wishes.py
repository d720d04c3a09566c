from __future__ import annotations

import pytest
from fastapi import Request

from nephra_contract.errors import RequestInvalid
from nephra_gateway.wishes import Wishes, wishes_of


def wishes(*headers: tuple[str, str]) -> Wishes:
    """What a request with these headers wishes."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return wishes_of(Request({"type": "http", "headers": raw}))


def test_without_a_word_the_answer_is_waited_for() -> None:
    """One document, no key, the middle priority, from the cache where it is there."""
    assert wishes() == Wishes("whole", None, 3, None, None, False)


@pytest.mark.parametrize(
    ("prefer", "answer", "wait_s"),
    [
        ("respond-async", "later", 0),
        ("Respond-Async", "later", 0),
        ("wait=10", "later", 10),
        ("respond-async, wait=20", "later", 20),
        ('wait="5"; x=y', "later", 5),
        ("wait=99999999999", "later", 86400),
        ("wait=soon", "whole", None),
        ("wait=-1", "whole", None),
        ("wait=²", "whole", None),
        ("handling=lenient", "whole", None),
        ("", "whole", None),
    ],
)
def test_a_ticket_is_answered_where_that_is_preferred(
    prefer: str, answer: str, wait_s: float | None
) -> None:
    """As RFC 7240 says; what is not understood is not there."""
    found = wishes(("Prefer", prefer))
    assert (found.answer, found.wait_s) == (answer, wait_s)
    assert found.detached == (answer == "later")


def test_two_prefer_headers_are_one() -> None:
    """A list may be sent in parts."""
    found = wishes(("Prefer", "respond-async"), ("Prefer", "wait=3"))
    assert (found.answer, found.wait_s) == ("later", 3)


def test_a_preference_counts_before_a_stream() -> None:
    """Who accepts events and prefers a ticket gets the ticket."""
    accept = ("Accept", "application/x-ndjson, application/json")
    assert wishes(accept).answer == "stream"
    assert wishes(accept, ("Prefer", "respond-async")).answer == "later"


@pytest.mark.parametrize(
    ("priority", "urgency"),
    [("u=0", 0), ("u=7", 7), ("i, u=5", 5), ("u=1, i", 1), ("u=8", 3), ("u=77", 3), ("x", 3)],
)
def test_urgency_is_read_as_in_rfc_9218(priority: str, urgency: int) -> None:
    """0 is most urgent; what is no urgency counts as the middle."""
    assert wishes(("Priority", priority)).priority == urgency


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 201])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    """Visible characters, as many as a UUID needs and some more."""
    with pytest.raises(RequestInvalid, match="Idempotency-Key"):
        wishes(("Idempotency-Key", key))
    assert wishes(("Idempotency-Key", "8e03978e-40d5")).idempotency_key == "8e03978e-40d5"


def test_the_cache_can_be_gone_around() -> None:
    """`no-cache` asks for a fresh answer, as in HTTP."""
    assert wishes(("Cache-Control", "max-age=0, No-Cache")).fresh
    assert not wishes(("Cache-Control", "max-age=0")).fresh
