"""How an answer gets to the caller: as one JSON document, or as a stream of events.

Either way a caller that hangs up cancels the work.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from nephra_contract.errors import Cancelled, RequestInvalid, Unavailable
from nephra_contract.messages import Event
from nephra_gateway.border import too_large
from nephra_gateway.gateway import gateway_of
from nephra_gateway.problems import WrongMediaType, document, ours

NDJSON = "application/x-ndjson"

#: A stream begins this long after its request. Proxies written in Go, Traefik among them, look for
#: the end of a body a moment after they have passed it on; if an answer has begun by then, they
#: close the body under their own hands, take that for a failure, and cut the connection.
_SETTLE_S = 0.1

Emit = Callable[[Event], None]
Work = Callable[[Emit], Awaitable[dict[str, Any]]]

#: nginx would collect events until it had enough of them.
_UNBUFFERED = {"X-Accel-Buffering": "no"}

#: As what a stream counts of which the caller did not wait for the end.
_HUNG_UP = Cancelled.status


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


async def deliver(request: Request, work: Work) -> Response:
    """Do the work, and answer as the caller wishes.

    Args:
        request: as it came; its state says what it is counted as.
        work: to be done; cancelled when the caller hangs up, or the gateway has to end.

    Raises:
        NephraError: of the work, where no stream was wished.
    """
    gateway = gateway_of(request)
    in_flight = gateway.figures.in_flight.labels(request.state.counted)

    async def counted(emit: Emit) -> dict[str, Any]:
        with in_flight.track_inprogress():
            return await _before_end(work(emit), gateway.ending)

    if NDJSON in request.headers.get("accept", ""):
        await asyncio.sleep(_SETTLE_S)
        events = _stream(request, counted, gateway.settings.heartbeat_s)
        return StreamingResponse(events, media_type=NDJSON, headers=_UNBUFFERED)
    return JSONResponse(await _unless_gone(request, counted(_ignore)))


async def _before_end(work: Awaitable[dict[str, Any]], ending: asyncio.Event) -> dict[str, Any]:
    """Wait for the work, or until the gateway has to end."""
    task = asyncio.ensure_future(work)
    end = asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Unavailable(
                "The gateway is shutting down.",
                "Send the request again shortly.",
                code="gateway_ending",
            )
        return task.result()
    finally:
        end.cancel()
        await _end(task)


async def _unless_gone(request: Request, work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Wait for the work or for the caller to hang up, whichever comes first."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Cancelled("The caller has hung up.", "Send the request again to start anew.")
        return task.result()
    finally:
        gone.cancel()
        await _end(task)


async def _stream(request: Request, work: Work, heartbeat_s: float) -> AsyncIterator[bytes]:
    events = asyncio.Queue[Event]()
    last = Event(event="progress", stage="waiting", fraction=0.0)
    task = asyncio.create_task(_last(request, work, events))
    request.state.status = _HUNG_UP
    try:
        yield last.line()
        while last.event not in ("result", "problem"):
            try:
                event = await asyncio.wait_for(events.get(), heartbeat_s)
            except TimeoutError:
                yield last.line()
                continue
            # A heartbeat repeats where things stand, not an artifact.
            last = event if event.event != "artifact" else last
            if last.event in ("result", "problem"):
                request.state.status = (last.problem or {}).get("status", 200)
            yield event.line()
    finally:
        await _end(task)


async def _last(request: Request, work: Work, events: asyncio.Queue[Event]) -> None:
    """Do the work; its end, whatever it is, becomes the last event."""
    try:
        result = await work(events.put_nowait)
        last = Event(event="result", fraction=1.0, result=result)
    except Exception as error:  # noqa: BLE001  the status is sent already: a problem is an event
        found = ours(error)
        request.state.members["code"] = found.code
        last = Event(event="problem", problem=document(found).model_dump(mode="json"))
    events.put_nowait(last)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait until it has cleaned up."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # taken note of


def _ignore(event: Event) -> None:
    del event


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
