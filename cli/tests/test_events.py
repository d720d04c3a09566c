"""Events over connections that break."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cli_toys.gateway import TICKET, Script, progress, result, served
from nephra_cli import Client
from nephra_cli.events import Message, WorkFailed, messages
from nephra_contract.errors import NephraError, Unavailable
from nephra_contract.messages import Event

THREE = [progress(0.1, "one"), progress(0.5, "two"), progress(0.9, "three"), result()]


def test_a_stream_is_taken_apart_as_the_standard_says() -> None:
    """Comments, fields without a space, several lines of data, both ends of lines, odd chunks."""
    text = (
        ": hello\r\n\r\nid: 7\nevent:progress\ndata: {\ndata:  1}\n\n"
        "retry: 5\n\nid: x\ndata: a\u2028b\x85c\n\ndata: cut short"
    ).encode()
    for size in (1, 2, 7, len(text)):
        chunks = [text[i : i + size] for i in range(0, len(text), size)]
        assert list(messages(iter(chunks))) == [
            Message("progress", "{\n 1}", 7),
            Message("message", "a\u2028b\x85c", None),
        ]


def test_each_event_comes_once_however_often_the_connection_breaks() -> None:
    """The server is told which one was the last that arrived."""
    script = Script(THREE, cuts=[1, 1, 3])
    away: list[NephraError] = []
    with served(script) as url, Client(url) as client:
        events = list(client.events(TICKET, waiting=away.append))
    assert [e.stage for e in events] == ["one", "two", "three", ""]
    assert events[-1].result is not None
    asked = script.headers("GET", f"/tickets/{TICKET}/events")
    assert [h.get("Last-Event-ID") for h in asked] == [None, "1", "1", "3"]
    assert len(away) == 3


def test_a_gateway_that_is_restarted_is_found_again() -> None:
    """It is away for a while, then goes on where it was; the token may be a new one."""
    tokens = ["old"]
    with served(Script(THREE, cuts=[2], token="old")) as url:
        port = int(url.rpartition(":")[2])
        client = Client(url, lambda: tokens[-1])
        events = client.events(TICKET, waiting=lambda _: back.set())
        back = threading.Event()
        stream = iter(events)
        assert [next(stream).stage, next(stream).stage] == ["one", "two"]
    rest: list[Event] = []
    reader = threading.Thread(target=lambda: rest.extend(stream))
    reader.start()
    assert back.wait(30)  # it has noticed
    tokens.append("new")
    with served(Script(THREE, token="new"), port), client:
        reader.join(30)
    assert [e.stage for e in rest] == ["three", ""]


def test_a_loop_that_was_left_goes_on_where_it_was() -> None:
    """As after a question to the user."""
    with served(Script(THREE)) as url, Client(url) as client:
        events = client.events(TICKET)
        first = iter(events)
        assert next(first).stage == "one"
        del first
        assert [e.stage for e in events] == ["two", "three", ""]


def test_patience_has_an_end() -> None:
    """A gateway that stays away is an error in the end; one that refuses is one at once."""
    with served(Script(THREE, cuts=[0] * 50)) as url, Client(url) as client:
        with pytest.raises(Unavailable, match="before the result"):
            list(client.events(TICKET, patience_s=0.5))
        with pytest.raises(NephraError, match="ticket_unknown"):
            list(client.events("f" * 32))


@pytest.fixture
def failed() -> Iterator[Client]:
    """A client of a gateway whose ticket has failed because a service was away."""
    problem = {"title": "t", "status": 503, "code": "predictor_unavailable", "detail": "It is gone"}
    script = Script([progress(0.1, "one"), Event(event="problem", problem=problem)])
    script.state = "failed"
    with served(script) as url, Client(url) as client:
        yield client


def test_the_tickets_own_problem_is_its_end(failed: Client) -> None:
    """Even one that looks as if asking again could help: it is raised, and not waited out."""
    with pytest.raises(WorkFailed, match="It is gone") as raised:
        list(failed.events(TICKET))
    assert raised.value.code == "predictor_unavailable"
