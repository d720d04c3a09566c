"""A small Python client of the gateway."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from nephra_cli import files
from nephra_cli.events import PATIENCE_S, Events, Waiting, lines
from nephra_cli.tickets import CacheFigures, State, Ticket, TicketPage
from nephra_cli.transport import (
    BROKEN,
    Bearer,
    RemoteError,
    Token,
    items,
    not_nephra,
    parse,
    problem_of,
    reachable,
)
from nephra_contract.errors import RequestInvalid, Unavailable
from nephra_contract.messages import Answer, BundleDescription, Event, OperationDescription

__all__ = ["Client", "RemoteError"]

NDJSON = "application/x-ndjson"
_OPERATION = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")
_TICKET = re.compile(r"[0-9a-f]{32}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: So often a request whose answer was lost is sent again; its key keeps it one ticket.
_SENDINGS = 5
#: The longest that one look at a ticket waits for its end.
_LOOK_S = 30


class Client:
    """Talks to one gateway. Paths in requests are relative to its data root.

    Args:
        url: of the gateway, for example `http://127.0.0.1:8000` or, where an ingress has it under
            a path, `https://host/nephra`.
        token: the bearer token, if the gateway wants one, or what reads it.
        timeout_s: longest silence that is waited through; None waits for ever.
    """

    def __init__(self, url: str, token: Token = None, timeout_s: float | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestInvalid(
                f"'{url}' is not the address of a gateway.",
                "Give it as http://HOST:PORT or https://HOST.",
            )
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            auth=Bearer(token),
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            # A proxy of the environment would be asked for the caller's own loopback.
            trust_env=parts.hostname not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, operation: str, **request: Any) -> Answer:
        """Run one operation and wait for its answer; hanging up cancels it.

        Raises:
            NephraError: what the gateway said no to, or that it does not answer.
        """
        # As a stream: what stands between would cut a connection on which nothing comes.
        last = list(self.stream(operation, **request))[-1]
        return parse(Answer, last.result)

    def stream(self, operation: str, **request: Any) -> Iterator[Event]:
        """Run one operation (or `cases`); yields its events, the last of which is the result.

        Closing the iterator hangs up, which cancels the work.

        Raises:
            NephraError: as `run`; a `problem` event is raised, not yielded.
        """
        with (
            reachable(self.url),
            self._http.stream(
                "POST", _route(operation), json=request, headers={"Accept": NDJSON}
            ) as response,
        ):
            if response.is_error:
                response.read()
                raise problem_of(response)
            yield from lines(response.iter_lines())

    def case(
        self,
        phases: Mapping[str, str],
        structures: Sequence[str] | None = None,
        **more: Any,
    ) -> Iterator[Event]:
        """Work on a whole case, as `stream` does.

        Args:
            phases: phase (`A`, `P`, `D`) → path.
            structures: what is wanted; None for all that the phases allow.
            more: further members of the request.
        """
        return self.stream("cases", **case_request(phases, structures), **more)

    def submit(
        self,
        operation: str,
        request: Mapping[str, Any],
        *,
        key: str | None = None,
        priority: int | None = None,
        callback: str | None = None,
        fresh: bool = False,
    ) -> Ticket:
        """Ask for an operation (or `cases`) and come back at once with its ticket.

        The work goes on whoever hangs up. A request whose answer is lost on the way is sent
        again, and is one ticket all the same.

        Args:
            operation: its name.
            request: its members.
            key: the Idempotency-Key: the same one gives the same ticket. A new one by default.
            priority: 0 (most urgent) to 7.
            callback: an address that is called when the ticket has ended.
            fresh: compute anew what the cache holds.

        Raises:
            NephraError: what the gateway said no to, or that it does not answer.
        """
        headers = {"Prefer": "respond-async", "Idempotency-Key": key or uuid.uuid4().hex}
        if priority is not None:
            headers["Priority"] = f"u={priority}"
        if callback is not None:
            headers["Nephra-Callback"] = callback
        if fresh:
            headers["Cache-Control"] = "no-cache"
        return Ticket.of(operation, self._send(_route(operation), dict(request), headers))

    def ticket(self, ticket: str, wait_s: int | None = None) -> Ticket:
        """A ticket as it stands, or as it stands when it has ended or `wait_s` have passed."""
        headers = {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
        return parse(Ticket, self._json("GET", _place(ticket), headers=headers))

    def wait(self, ticket: str) -> Ticket:
        """Wait until a ticket has ended, however it does."""
        while not (found := self.ticket(ticket, _LOOK_S)).has_ended:
            pass
        return found

    def tickets(
        self,
        states: Sequence[State] = (),
        operation: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> TicketPage:
        """A page of tickets, the newest first: one's own; all for a token that may see all."""
        asked: dict[str, Any] = {"state": list(states), "operation": operation, "cursor": cursor}
        given = {k: v for k, v in asked.items() if v}
        return parse(TicketPage, self._json("GET", "/tickets", params={**given, "limit": limit}))

    def events(
        self,
        ticket: str,
        after: int = 0,
        waiting: Waiting = lambda _: None,
        patience_s: float = PATIENCE_S,
    ) -> Events:
        """A ticket's events up to its end; survives broken connections and restarted gateways.

        Args:
            ticket: its number.
            after: the number of the last event that is known.
            waiting: told each time that the gateway is away.
            patience_s: how long it may be away.
        """
        return Events(self._http, self.url, _number(ticket), after, waiting, patience_s)

    def cancel(self, ticket: str) -> Ticket:
        """Cancel a ticket; what runs stops at its next chance, see `wait`.

        Raises:
            NephraError: it has ended already, or is not there.
        """
        return parse(Ticket, self._json("DELETE", _place(ticket)))

    def retry(self, ticket: str) -> Ticket:
        """Ask for the same again; gives the new ticket."""
        return parse(Ticket, self._json("POST", f"{_place(ticket)}/retry"))

    def cache(self) -> CacheFigures:
        """What the prediction cache holds, and how it has served."""
        return parse(CacheFigures, self._json("GET", "/cache"))

    def upload(self, source: Path, path: str) -> None:
        """Send a file into the data root, in pieces; one that is there already stays.

        Raises:
            NephraError: the gateway refuses it, or is away for too long.
        """
        files.upload(self._http, self.url, source, path)

    def download(self, path: str, target: Path) -> Path:
        """Fetch a file of the data root; it is there whole, or not at all.

        Raises:
            NephraError: it is not there, or the gateway is away for too long.
        """
        return files.download(self._http, self.url, path, target)

    def ready(self) -> None:
        """Ask whether all predictors are ready.

        Raises:
            NephraError: some are not; it names them.
        """
        self._json("GET", "/readyz")

    def labels(self) -> Any:
        """The label table, as the gateway gives it."""
        return self._json("GET", "/labels")

    def operations(self) -> list[OperationDescription]:
        """What the predictors behind the gateway offer."""
        found = items(self._json("GET", "/operations"), "operations")
        return [parse(OperationDescription, o) for o in found]

    def bundles(self) -> list[BundleDescription]:
        """The models that are loaded."""
        found = items(self._json("GET", "/bundles"), "bundles")
        return [parse(BundleDescription, b) for b in found]

    def _send(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        """POST something that may be sent twice."""
        for _ in range(_SENDINGS - 1):
            try:
                return self._json("POST", path, json=body, headers=headers)
            except Unavailable as error:
                if error.code != BROKEN:
                    raise
        return self._json("POST", path, json=body, headers=headers)

    def _json(self, method: str, path: str, **request: Any) -> Any:
        with reachable(self.url):
            response = self._http.request(method, path, **request)
        if response.is_error:
            raise problem_of(response)
        try:
            return response.json()
        except ValueError as error:
            raise not_nephra() from error


def case_request(
    phases: Mapping[str, str], structures: Sequence[str] | None = None
) -> dict[str, Any]:
    """The members of a request for a whole case; see `Client.case`."""
    request: dict[str, Any] = {"phases": dict(phases)}
    return request if structures is None else {**request, "structures": list(structures)}


def _route(operation: str) -> str:
    if not _OPERATION.fullmatch(operation):
        raise RequestInvalid(
            f"'{operation}' is not the name of an operation.",
            "`nephra operations` lists them, for example inference/tumor.",
        )
    return f"/{operation}"


def _number(ticket: str) -> str:
    if not _TICKET.fullmatch(ticket):
        raise RequestInvalid(
            f"'{ticket}' is not the number of a ticket.", "`nephra tickets` lists them."
        )
    return ticket


def _place(ticket: str) -> str:
    return f"/tickets/{quote(_number(ticket))}"
