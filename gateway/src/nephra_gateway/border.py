"""ASGI around the application: tokens, rates, the body's limit, headers, a line in the log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware

from nephra_contract import logs
from nephra_contract.errors import NephraError, PathRefused
from nephra_gateway.auth import NOBODY, Tokens, needed
from nephra_gateway.figures import Figures
from nephra_gateway.problems import BodyTooLarge, problem_response
from nephra_gateway.rates import Rates

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: No patient stands behind these: whether it lives, how it is used, and the page for people.
OPEN = frozenset({"/livez", "/healthz", "/readyz", "/docs", "/openapi.json", "/", "/favicon.svg"})
_ASSETS = "/assets/"
_FILES = "/files/"
_PROBES = frozenset({"/livez", "/healthz", "/readyz"})
_INFORMATION = frozenset({"/labels", "/operations", "/bundles", "/docs", "/openapi.json"})

#: An answer that has one of these itself keeps its own.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    # The page at /docs has styles of its own, and nothing there runs scripts.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}

#: What scripts of allowed origins may see of an answer, and send with a request.
_SHOWN = [
    "Content-Digest", "Content-Disposition", "ETag", "Location", "Nephra-Ticket",
    "Preference-Applied", "Repr-Digest", "Retry-After", "Upload-Offset", "X-Nephra-Cache",
]  # fmt: skip
_TAKEN = [
    "Authorization", "Cache-Control", "Content-Digest", "Content-Range", "Content-Type",
    "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "Nephra-Callback", "Prefer",
    "Priority", "Range", "Repr-Digest",
]  # fmt: skip
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]


@dataclass(frozen=True)
class Border:
    """What every request passes, in and out.

    Args:
        app: what serves it.
        tokens: who may ask.
        max_body_bytes: the largest body, of what is no upload.
        figures: what is counted.
        rates: how often each of them.
        cors_origins: whose web pages may ask from their visitors' browsers.
    """

    app: App
    tokens: Tokens
    max_body_bytes: int
    figures: Figures
    rates: Rates = field(default_factory=Rates)
    cors_origins: tuple[str, ...] = ()

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
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._shared(scope, receive, answer)
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

    async def _shared(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; pages of allowed origins are told so, whatever the answer is."""
        if not self.cors_origins:
            await self._serve(scope, receive, send)
            return
        shared = CORSMiddleware(
            self._serve,
            allow_origins=self.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_TAKEN,
            expose_headers=_SHOWN,
        )
        await shared(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._let_in(scope, headers)
            if scope["path"].startswith(_FILES):
                _check_name(scope["path"])
            else:
                self._check_length(headers.get("content-length"))
        except NephraError as error:
            scope["state"]["members"]["code"] = error.code
            await problem_response(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _let_in(self, scope: Scope, headers: Headers) -> None:
        """Find out who asks, and whether they may.

        Raises:
            Unauthorized: nobody known.
            Forbidden: not for this method.
            TooManyRequests: not so often.
        """
        if _is_open(scope["method"], scope["path"]):
            scope["state"]["caller"] = NOBODY
            return
        caller = self.tokens.check(headers.get("authorization"))
        scope["state"]["caller"] = caller
        scope["state"]["members"]["caller"] = caller.name
        caller.need(needed(scope["method"]))
        self.rates.take(caller.name)

    def _check_length(self, length: str | None) -> None:
        """A body that announces too much is refused unread; others are counted as they come."""
        if length is not None and length.isdigit() and int(length) > self.max_body_bytes:
            raise too_large(self.max_body_bytes)


def _check_name(path: str) -> None:
    """Refuse control characters before routes are looked for: their patterns end at a line's end.

    Raises:
        PathRefused: there are some.
    """
    if not path.isprintable():
        raise PathRefused(
            "A path in the request is not text.", "Name the file relative to the data root."
        )


def too_large(limit_bytes: int) -> BodyTooLarge:
    """The error for a body over the limit."""
    return BodyTooLarge(
        f"The request's body is larger than {limit_bytes} bytes.",
        "Send paths and parameters, not files.",
    )


def _is_open(method: str, path: str) -> bool:
    """Whether anybody may have it; only to look, never to have something done."""
    return method in ("GET", "HEAD") and (path in OPEN or path.startswith(_ASSETS))


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
