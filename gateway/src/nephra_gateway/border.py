"""ASGI around the application: tokens, the body's limit, headers, one line in the log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from nephra_contract import logs
from nephra_contract.errors import NephraError
from nephra_gateway.auth import Tokens
from nephra_gateway.figures import Figures
from nephra_gateway.problems import BodyTooLarge, problem_response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: No patient stands behind these: whether it lives, and how it is used.
OPEN = frozenset({"/livez", "/healthz", "/readyz", "/docs", "/openapi.json"})
_PROBES = frozenset({"/livez", "/healthz", "/readyz"})
_INFORMATION = frozenset({"/labels", "/operations", "/bundles", "/docs", "/openapi.json"})

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    # The page at /docs has styles of its own, and nothing here runs scripts.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}


@dataclass(frozen=True)
class Border:
    """What every request passes, in and out.

    Args:
        app: what serves it.
        tokens: who may ask.
        max_body_bytes: the largest body.
        figures: what is counted.
    """

    app: App
    tokens: Tokens
    max_body_bytes: int
    figures: Figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        members: dict[str, Any] = scope.setdefault("state", {}).setdefault("members", {})

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(raw=message.setdefault("headers", [])).update(_HEADERS)
            await send(message)

        try:
            await self._serve(scope, receive, answer)
        except Exception as error:  # noqa: BLE001  the border: Starlette has answered with 500
            logs.defect("unexpected error", error)
        finally:
            seconds = time.perf_counter() - started
            # A stream ends with a status of its own, long after it was sent.
            status = scope["state"].get("status", status) or 499
            if scope["path"] not in _PROBES:
                self.figures.count(_counted(scope), status, seconds)
            if scope["path"] not in _PROBES or status >= 400:
                _log(scope, status, seconds, scope["state"].get("members", members))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            if scope["path"] not in OPEN:
                self.tokens.check(headers.get("authorization"))
            self._check_length(headers.get("content-length"))
        except NephraError as error:
            scope["state"]["members"]["code"] = error.code
            await problem_response(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_length(self, length: str | None) -> None:
        """A body that announces too much is refused unread; others are counted as they come."""
        if length is not None and length.isdigit() and int(length) > self.max_body_bytes:
            raise too_large(self.max_body_bytes)


def too_large(limit_bytes: int) -> BodyTooLarge:
    """The error for a body over the limit."""
    return BodyTooLarge(
        f"The request's body is larger than {limit_bytes} bytes.",
        "Send paths and parameters, not files.",
    )


def _counted(scope: Scope) -> str:
    """What a request counts as: few names, whatever callers make up."""
    if scope["path"] in _INFORMATION:
        return "information"
    return str(scope["state"].get("counted", "unknown"))


def _log(scope: Scope, status: int, seconds: float, members: dict[str, Any]) -> None:
    logs.line(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        duration_ms=round(seconds * 1000, 1),
        **members,
    )
