"""Requests to the gateway as spans, of the caller's trace where it sends one."""

from __future__ import annotations

from starlette.datastructures import Headers

from nephra_contract import traces
from nephra_gateway.border import App, Receive, Scope, Send

_PROBES = frozenset({"/livez", "/healthz", "/readyz"})


class Traced:
    """ASGI around the application.

    Args:
        app: what serves requests.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within a span; probes have none."""
        if scope["type"] != "http" or scope["path"] in _PROBES or not traces.on():
            await self._app(scope, receive, send)
            return
        parent = Headers(scope=scope).get(traces.TRACEPARENT)
        # Paths are of many names, and some of files.
        with traces.span(f"{scope['method']} request", parent=parent, kind="server"):
            await self._app(scope, receive, send)
