"""One HTTP request on its way through the server: its body, its end, its line in the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from nephra_contract import logs
from nephra_contract.errors import TooLarge
from nephra_serving.errors import problem_response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Probes and scrapes come every few seconds; they have no line unless they fail. Not to be ready
#: is no failure: the log says when a worker is lost, and when all are ready.
_SILENT = frozenset({"/", "/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})


@dataclass(eq=False)
class Call:
    """What is known of one request while it is served.

    Args:
        stopped: the work is not wanted any more.
        gone: the caller has hung up.
        media_type: of a streamed answer; KServe leaves it out.
        members: for the request's line in the log.
    """

    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    media_type: str | None = None
    members: dict[str, Any] = field(default_factory=dict)

    def cancel(self) -> None:
        """The work is not wanted any more. To be called in the event loop."""
        self.stopped.set()

    def hang_up(self) -> None:
        """The caller has gone. To be called in the event loop."""
        self.gone.set()
        self.cancel()


_current: ContextVar[Call] = ContextVar("nephra_call")


def current() -> Call:
    """The request that is being served here."""
    return _current.get()


@dataclass(frozen=True)
class Border:
    """ASGI around KServe's application: bounds the body, watches for hang-ups, logs one line."""

    app: App
    max_body_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call, started, status = Call(), time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _set_media_type(message, call.media_type)
            await send(message)

        try:
            await self._serve(call, scope, receive, answer)
        except Exception as error:  # noqa: BLE001  the border: Starlette has answered with 500
            logs.defect("unexpected error", error)
        finally:
            elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
            _log(scope, status, elapsed_ms, call)

    async def _serve(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._read(receive)
        if body is None:
            return
        if len(body) > self.max_body_bytes:
            error = TooLarge(
                f"The request's body is larger than {self.max_body_bytes} bytes.",
                "Send paths and parameters, not files.",
                code="request_too_large",
            )
            await problem_response(error)(scope, receive, send)
            return
        token = _current.set(call)
        watcher = asyncio.create_task(_watch(receive, call))
        try:
            await self.app(scope, _replay(body, call), send)
        finally:
            watcher.cancel()
            _current.reset(token)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, at most one chunk over the limit; None if the caller went away."""
        body, more = bytearray(), True
        while more and len(body) <= self.max_body_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(body)


def _replay(body: bytes, call: Call) -> Receive:
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await call.gone.wait()
        return {"type": "http.disconnect"}

    return receive


async def _watch(receive: Receive, call: Call) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    call.hang_up()


def _set_media_type(message: Message, media_type: str | None) -> None:
    headers = list(message.get("headers", []))
    if media_type is not None and not any(k.lower() == b"content-type" for k, _ in headers):
        message["headers"] = [*headers, (b"content-type", media_type.encode())]


def _log(scope: Scope, status: int, elapsed_ms: float, call: Call) -> None:
    if scope["path"] in _SILENT and (status < 400 or status == 503):
        return
    logs.line(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status or 499,
        duration_ms=elapsed_ms,
        **call.members,
    )
