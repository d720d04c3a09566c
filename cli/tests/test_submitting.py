"""Tickets by the client: asked for once, however the answers get lost."""

from __future__ import annotations

import pytest

from cli_toys.gateway import RESULT, TICKET, Script, served
from nephra_cli import Client
from nephra_cli.tickets import Ticket
from nephra_contract.errors import NephraError, RequestInvalid


def test_a_request_whose_answer_is_lost_is_sent_again_under_its_key() -> None:
    """The gateway knows it by the key, and makes one ticket."""
    script = Script(lost=2)
    with served(script) as url, Client(url) as client:
        ticket = client.submit("smoothing/base", {"mask_path": "m"})
    assert ticket.ticket == TICKET
    asked = script.headers("POST", "/smoothing/base")
    assert len(asked) == 3
    assert len({h["Idempotency-Key"] for h in asked}) == 1
    assert all(h["Prefer"] == "respond-async" for h in asked)
    assert script.bodies == [{"mask_path": "m"}] * 3


def test_what_is_wished_is_said_in_headers() -> None:
    """Key, priority, callback, and that the cache is passed by; none of them by default."""
    script = Script()
    with served(script) as url, Client(url) as client:
        client.submit("cases", {}, key="k", priority=1, callback="https://h/x", fresh=True)
        client.submit("cases", {})
        client.submit("cases", {})
    said, plain, other = script.headers("POST", "/cases")
    assert said["Idempotency-Key"] == "k"
    assert said["Priority"] == "u=1"
    assert said["Nephra-Callback"] == "https://h/x"
    assert said["Cache-Control"] == "no-cache"
    assert not {"Priority", "Nephra-Callback", "Cache-Control"} & set(plain)
    assert plain["Idempotency-Key"] != other["Idempotency-Key"]


def test_an_answer_that_comes_at_once_is_a_ticket_that_has_ended() -> None:
    """As from the cache, or from a gateway that does not wait on others."""
    found = Ticket.of("smoothing/base", {**RESULT, "cached": True})
    assert found.has_ended
    assert found.cached
    assert found.result == {**RESULT, "cached": True}


def test_tickets_are_listed_looked_at_and_cancelled() -> None:
    """What a newer gateway says beyond what is known here is passed over."""
    script = Script()
    with served(script) as url, Client(url) as client:
        assert [t.ticket for t in client.tickets(["queued", "running"], limit=5).tickets] == [
            TICKET
        ]
        assert client.ticket(TICKET, wait_s=3).state == "running"
        assert client.cancel(TICKET).state == "cancelled"
        assert client.wait(TICKET).has_ended
    assert script.headers("GET", f"/tickets/{TICKET}")[0]["Prefer"] == "wait=3"


@pytest.mark.parametrize("ticket", ["", "x", "../labels", "A" * 32, "0" * 31])
def test_only_numbers_of_tickets_are_asked_for(ticket: str) -> None:
    """A number cannot lead to another page of the server."""
    with Client("http://127.0.0.1:9") as client:
        for ask in (client.ticket, client.cancel, client.retry, client.events):
            with pytest.raises(RequestInvalid, match="number of a ticket"):
                ask(ticket)


def test_nobody_there_is_said_at_once() -> None:
    """A first request is not sent again and again to an address that is wrong."""
    with Client("http://127.0.0.1:9") as client, pytest.raises(NephraError, match="No gateway"):
        client.submit("smoothing/base", {})
