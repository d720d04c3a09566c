"""How an answer gets to the caller: as one JSON document, as a stream of events, or later.

All of them wait for the ticket, wherever it is worked on. A caller who wants the answer at once
and hangs up cancels the work; one who wants it later does not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from nephra_contract.errors import Cancelled, Conflict, RequestInvalid, Unavailable
from nephra_contract.messages import Event, Problem
from nephra_gateway.border import too_large
from nephra_gateway.gateway import Gateway, gateway_of
from nephra_gateway.problems import Relayed, WrongMediaType
from nephra_gateway.store import tickets
from nephra_gateway.store.tickets import ENDED, Ticket
from nephra_gateway.views import view
from nephra_gateway.wishes import NDJSON, Wishes

#: A stream begins this long after its request. Proxies written in Go, Traefik among them, look for
#: the end of a body a moment after they have passed it on; if an answer has begun by then, they
#: close the body under their own hands, take that for a failure, and cut the connection.
_SETTLE_S = 0.1

#: nginx would collect events until it had enough of them.
UNBUFFERED = {"X-Accel-Buffering": "no"}

#: As what a stream counts of which the caller did not wait for the end.
_HUNG_UP = Cancelled.status

#: Where the database is away, what waits asks again so often.
_AWAY_S = 1.0

#: News of an end may be missed while the database is away.
_LOOK_S = 30.0

LAST = frozenset({"result", "problem"})


async def body_of(request: Request, limit_bytes: int) -> dict[str, Any]:
    """The JSON object that a request carries.

    Raises:
        WrongMediaType: not JSON by its own words.
        BodyTooLarge: over the limit.
        RequestInvalid: not a JSON object.
    """
    media_type = request.headers.get("content-type", "application/json").split(";")[0].strip()
    if media_type.lower() != "application/json":
        raise WrongMediaType(
            "The body is not application/json.", "Send JSON, with 'Content-Type: application/json'."
        )
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > limit_bytes:
            raise too_large(limit_bytes)
    try:
        body = json.loads(raw, parse_constant=_no_constant)
        # Lone surrogates are JSON, but no text that could be sent on.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(
            "The body is not JSON.", "Send a JSON object in UTF-8.", code="body_not_json"
        ) from error
    if not isinstance(body, dict):
        raise RequestInvalid("The body is not a JSON object.", 'Send for example {"mask_path": …}.')
    return body


async def deliver(request: Request, ticket: Ticket, wishes: Wishes) -> Response:
    """Answer as the caller wishes.

    Raises:
        NephraError: what became of the ticket, where no stream was wished.
    """
    gateway = gateway_of(request)
    if ticket.state in ENDED and wishes.answer != "stream":
        return answer_of(ticket)
    if wishes.answer == "stream":
        await asyncio.sleep(_SETTLE_S)
        lines = _counted_lines(request, gateway, ticket)
        headers = {**UNBUFFERED, **_about(ticket)}
        return StreamingResponse(lines, media_type=NDJSON, headers=headers)
    if wishes.answer == "whole":
        with _in_flight(request, gateway):
            return answer_of(await _unless_gone(request, gateway, ticket))
    ended = await wait_for(gateway, ticket, wishes.wait_s or 0.0)
    return answer_of(ended) if ended.state in ENDED else await accepted(gateway, ended)


async def accepted(gateway: Gateway, ticket: Ticket) -> Response:
    """The answer that is a ticket."""
    shown = view(ticket, await gateway.submissions.position(ticket))
    headers = {
        **_about(ticket),
        "Location": f"/tickets/{ticket.id}",
        "Preference-Applied": "respond-async",
    }
    return JSONResponse(shown.model_dump(mode="json", exclude_none=True), 202, headers)


def answer_of(ticket: Ticket) -> Response:
    """The answer that an ended ticket is.

    Raises:
        Relayed: its problem.
        Conflict: it was cancelled.
    """
    if ticket.state == "succeeded" and ticket.result is not None:
        cached = {"X-Nephra-Cache": "hit" if ticket.cached else "miss"}
        return JSONResponse(ticket.result, headers={**_about(ticket), **cached})
    if ticket.state == "cancelled":
        raise Conflict(
            f"The ticket {ticket.id} was cancelled.", "Send the request again.", code="cancelled"
        )
    raise Relayed(Problem.model_validate(ticket.problem))


async def wait_for(gateway: Gateway, ticket: Ticket, wait_s: float) -> Ticket:
    """A ticket when it has ended, or as it is when the time is over or this gateway has to end."""
    if wait_s > 0:
        try:
            return await asyncio.wait_for(_ended(gateway, ticket, gateway.ending.begun), wait_s)
        except (TimeoutError, Unavailable):
            pass
    return await gateway.submissions.get(ticket.id) or ticket


async def follow(
    gateway: Gateway, ticket_id: str, until: asyncio.Event, after: int = 0
) -> AsyncGenerator[tuple[int, Event] | None, None]:
    """The numbered events of a ticket, as they come, up to the last; None now and then.

    Args:
        gateway: that is asked.
        ticket_id: of a ticket that is there.
        until: nothing more is said when it is set; the board is woken then.
        after: the number of the last event that is known.
    """
    with gateway.board.watch(ticket_id) as watch:
        while not until.is_set():
            try:
                found = await gateway.database.read(
                    partial(tickets.events, ticket_id=ticket_id, after=after)
                )
            except Unavailable:
                await asyncio.sleep(_AWAY_S)
                yield None
                continue
            for number, event in found:
                after = number
                yield number, event
                if event.event in LAST:
                    return
            if not found and not await watch.wait(gateway.settings.heartbeat_s):
                yield None


async def _unless_gone(request: Request, gateway: Gateway, ticket: Ticket) -> Ticket:
    """Wait for the ticket's end, or until the caller hangs up, which cancels it."""
    waiting = asyncio.ensure_future(_ended(gateway, ticket, gateway.ending.over))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        raise Cancelled("The caller has hung up.", "Send the request again to start anew.")
    finally:
        gone.cancel()
        if not waiting.done() or waiting.exception():
            waiting.cancel()
            await gateway.submissions.cancel(ticket.id)


async def _ended(gateway: Gateway, ticket: Ticket, until: asyncio.Event) -> Ticket:
    """Wait for a ticket's end.

    Raises:
        Unavailable: this gateway has to end.
    """
    with gateway.board.watch(ticket.id, ends_only=True) as watch:
        found: Ticket | None = ticket
        while found is not None and found.state not in ENDED:
            if until.is_set():
                raise _shutting_down()
            try:
                found = await gateway.submissions.get(ticket.id)
            except Unavailable:
                await asyncio.sleep(_AWAY_S)
                continue
            if found is not None and found.state not in ENDED:
                await watch.wait(_LOOK_S)
    return found or ticket


async def _counted_lines(
    request: Request, gateway: Gateway, ticket: Ticket
) -> AsyncIterator[bytes]:
    with _in_flight(request, gateway):
        async with aclosing(_lines(request, gateway, ticket)) as lines:
            async for line in lines:
                yield line


async def _lines(request: Request, gateway: Gateway, ticket: Ticket) -> AsyncGenerator[bytes, None]:
    """The events of a ticket as lines; a caller that hangs up cancels it."""
    last = Event(event="progress", stage="waiting", fraction=0.0)
    request.state.status = _HUNG_UP
    try:
        yield last.line()
        async with aclosing(follow(gateway, ticket.id, gateway.ending.over)) as events:
            async for found in events:
                event = last if found is None else found[1]  # a heartbeat: where things stand
                last = event if event.event != "artifact" else last
                if last.event not in LAST:
                    yield event.line()
        if last.event not in LAST:
            problem = Problem.of(_shutting_down()).model_dump(mode="json")
            await gateway.submissions.cancel(ticket.id)
            last = Event(event="problem", problem=problem)
        said = last.problem or {"status": 200}
        request.state.status = said["status"]
        request.state.members |= {"code": said["code"]} if "code" in said else {}
        yield last.line()
    finally:
        if last.event not in LAST:
            await gateway.submissions.cancel(ticket.id)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _in_flight(request: Request, gateway: Gateway) -> AbstractContextManager[None]:
    return gateway.figures.in_flight.labels(request.state.counted).track_inprogress()


def _about(ticket: Ticket) -> dict[str, str]:
    return {"Nephra-Ticket": ticket.id}


def _shutting_down() -> Unavailable:
    return Unavailable(
        "The gateway is shutting down.", "Send the request again shortly.", code="gateway_ending"
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
