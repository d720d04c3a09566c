"""A ticket's events as they come, over as many connections as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
from pydantic import ValidationError

from nephra_cli.transport import RemoteError, is_passing, not_nephra, parse, problem_of, reachable
from nephra_contract.errors import NephraError, Unavailable
from nephra_contract.messages import Event, Problem

#: How long a gateway that is away is asked for again: as long as a restart may take.
PATIENCE_S = 300.0
#: Streams have heartbeats; one that is silent for longer has lost its other end.
SILENCE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0

#: Told what is waited for.
Waiting = Callable[[NephraError], None]


@dataclass(frozen=True)
class Message:
    """One message of a `text/event-stream`; `number` is its id, None if it has none."""

    kind: str
    data: str
    number: int | None = None


def messages(chunks: Iterator[bytes]) -> Iterator[Message]:
    """Take a stream of Server-Sent Events apart, as HTML's standard says.

    What an end of the stream cuts short is dropped, as there.
    """
    fields: dict[str, list[str]] = {}
    for line in _lines(chunks):
        if not line:
            if fields.get("data"):
                yield _message(fields)
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:  # without one it is a comment: a heartbeat
            fields.setdefault(name, []).append(value.removeprefix(" "))


def _message(fields: dict[str, list[str]]) -> Message:
    number = fields.get("id", [""])[-1]
    return Message(
        kind=fields.get("event", ["message"])[-1],
        data="\n".join(fields["data"]),
        number=int(number) if number.isdecimal() else None,
    )


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Lines that have ended. JSON may hold what Python takes for ends of lines; this does not."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")


class Events:
    """The events of one ticket, up to its end. Where a loop was left, the next one goes on.

    Args:
        http: the connections.
        url: of the gateway, for sentences.
        ticket: its number.
        after: the number of the last event that is known.
        waiting: told each time that the gateway is away.
        patience_s: how long it may be away.
    """

    def __init__(
        self,
        http: httpx.Client,
        url: str,
        ticket: str,
        after: int = 0,
        waiting: Waiting = lambda _: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.last = after
        self._http = http
        self._url = url
        self._ticket = ticket
        self._waiting = waiting
        self._patience_s = patience_s

    def __iter__(self) -> Iterator[Event]:
        """Yield events; the last one is the result.

        Raises:
            NephraError: the ticket's problem; or the gateway is gone, or does not know it.
        """
        silent_since, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                for event in self._connection():
                    silent_since, pause_s = time.monotonic(), _FIRST_PAUSE_S
                    yield event
                    if event.event == "result":
                        return
                error: NephraError = _early()
            except NephraError as found:
                if isinstance(found, WorkFailed) or not is_passing(found):
                    raise
                error = found
            if time.monotonic() - silent_since > self._patience_s:
                raise error
            self._waiting(error)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _connection(self) -> Iterator[Event]:
        """The events of one connection."""
        headers = {"Accept": "text/event-stream"}
        if self.last:
            headers["Last-Event-ID"] = str(self.last)
        timeout = httpx.Timeout(SILENCE_S, connect=10.0)
        path = f"/tickets/{self._ticket}/events"
        with (
            reachable(self._url),
            self._http.stream("GET", path, headers=headers, timeout=timeout) as response,
        ):
            if response.is_error:
                response.read()
                raise problem_of(response)
            for message in messages(response.iter_bytes()):
                event = _event(message.data)
                self.last = self.last if message.number is None else message.number
                yield event


class WorkFailed(RemoteError):
    """Work that ended without a result; its problem is why."""


def lines(stream: Iterator[str]) -> Iterator[Event]:
    """The events of an `application/x-ndjson` answer, the last of which is the result.

    Raises:
        WorkFailed: it is a problem.
        Unavailable: the stream ends early, or is none of a gateway.
    """
    for line in stream:
        if line.strip():
            event = _event(line)
            yield event
            if event.event == "result":
                return
    raise _early()


def _event(text: str) -> Event:
    try:
        event = Event.model_validate_json(text)
    except ValidationError as error:
        raise not_nephra() from error
    if event.event == "problem":
        raise WorkFailed(parse(Problem, event.problem or {}))
    return event


def _early() -> Unavailable:
    return Unavailable(
        "The connection ended before the result came.", "Look into the log, then try again."
    )
