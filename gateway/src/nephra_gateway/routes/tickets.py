"""`/tickets`: what has been asked for, how far it is, and to have it stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from nephra_contract.errors import Conflict, RequestInvalid
from nephra_gateway.auth import caller_of
from nephra_gateway.delivery import UNBUFFERED, accepted, follow, wait_for
from nephra_gateway.gateway import gateway_of
from nephra_gateway.messages import State, TicketPage, TicketView
from nephra_gateway.store import tickets
from nephra_gateway.store.tickets import ENDED
from nephra_gateway.views import view
from nephra_gateway.wishes import Wishes, preferences, seconds

router = APIRouter(prefix="/tickets")

#: What is asked to stop usually has by then.
_STOPPED_WITHIN_S = 10.0


@router.get("", response_model_exclude_none=True)
async def listing(
    request: Request,
    state: Annotated[list[State] | None, Query()] = None,
    operation: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> TicketPage:
    """The caller's tickets, the newest first; all for a token with the scope `admin`.

    Raises:
        RequestInvalid: a cursor that is none.
        Unavailable: the database is away.
    """
    gateway, caller = gateway_of(request), caller_of(request)
    request.state.counted = "tickets"
    owner = None if caller.admin else caller.name
    found, following = await gateway.database.read(
        lambda c: tickets.page(
            c,
            owner=owner,
            states=frozenset(state or ()),
            operation=operation,
            limit=limit,
            cursor=cursor,
        )
    )
    queued = [t.id for t in found if t.state == "queued"]
    places = await gateway.database.read(lambda c: tickets.positions(c, queued)) if queued else {}
    shown = [view(t, places.get(t.id), whole=False) for t in found]
    return TicketPage(tickets=shown, next=following)


@router.get("/{ticket}", response_model_exclude_none=True)
async def one(ticket: str, request: Request) -> TicketView:
    """One ticket; with `Prefer: wait=N` when it has ended, or after N seconds.

    Raises:
        NotFound: it is not there, or somebody else's.
    """
    gateway = gateway_of(request)
    request.state.counted = "tickets"
    found = await gateway.submissions.mine(ticket, caller_of(request))
    wait_s = seconds(preferences(request).get("wait"))
    if wait_s and found.state not in ENDED:
        found = await wait_for(gateway, found, wait_s)
    return view(found, await gateway.submissions.position(found))


@router.get("/{ticket}/events")
async def events(ticket: str, request: Request) -> Response:
    """What happens, as Server-Sent Events; `Last-Event-ID` goes on after a broken connection.

    Raises:
        NotFound: it is not there, or somebody else's.
        RequestInvalid: a Last-Event-ID that is none.
    """
    gateway = gateway_of(request)
    request.state.counted = "events"
    found = await gateway.submissions.mine(ticket, caller_of(request))
    said = request.headers.get("last-event-id", "0")
    if not (said.isascii() and said.isdecimal()):
        raise RequestInvalid(
            "The Last-Event-ID is no number.", "Send the `id` of the last event that you have."
        )
    # No event comes after the last: who knows that one, or more, is told not to come again.
    after = min(int(said[:9]), found.last_event)
    if found.state in ENDED and after == found.last_event:
        return Response(status_code=204)

    async def lines() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        # When this gateway ends, another one goes on from the last number.
        async for told in follow(gateway, ticket, gateway.ending.begun, after):
            if told is None:
                if gateway.ending.begun.is_set():
                    return  # another gateway goes on from the last number
                yield b": alive\n\n"
                continue
            number, event = told
            data = event.line().rstrip(b"\n")
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (number, event.event.encode(), data)

    return StreamingResponse(lines(), media_type="text/event-stream", headers=UNBUFFERED)


@router.delete("/{ticket}", response_model_exclude_none=True)
async def cancel(ticket: str, request: Request) -> TicketView:
    """Cancel a ticket: its work stops within one tile.

    Raises:
        NotFound: it is not there, or somebody else's.
        Conflict: it has ended by itself.
    """
    gateway = gateway_of(request)
    request.state.counted = "tickets"
    await gateway.submissions.mine(ticket, caller_of(request))
    found = await gateway.submissions.cancel(ticket)
    if found is not None and found.state == "running":
        found = await wait_for(gateway, found, _STOPPED_WITHIN_S)
    if found is None or found.state in ENDED - {"cancelled"}:
        raise Conflict(
            "The ticket has ended already.", "There is nothing to cancel.", code="ticket_ended"
        )
    return view(found)


@router.post("/{ticket}/retry", status_code=202, response_model=TicketView)
async def retry(ticket: str, request: Request) -> Response:
    """Ask for the same again, as a new ticket; what was finished is found in the cache.

    Raises:
        NotFound: it is not there, or somebody else's.
        Conflict: it has not ended yet.
    """
    gateway, caller = gateway_of(request), caller_of(request)
    request.state.counted = "tickets"
    found = await gateway.submissions.mine(ticket, caller)
    if found.state not in ENDED:
        raise Conflict(
            "The ticket has not ended yet.", "Wait for it, or cancel it.", code="ticket_running"
        )
    wishes = Wishes("later", 0.0, priority=found.priority)
    again = await gateway.submissions.submit(found.operation, found.request, caller, wishes)
    request.state.members["ticket"] = again.id
    return await accepted(gateway, again)
