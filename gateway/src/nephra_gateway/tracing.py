"""What is observed of requests and of tickets: spans of their callers' traces, logs, counts."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers

from nephra_contract import logs, traces
from nephra_contract.errors import InternalError, NephraError
from nephra_gateway.border import App, Receive, Scope, Send
from nephra_gateway.figures import Figures
from nephra_gateway.journal import Journal
from nephra_gateway.store.tickets import LeaseLost
from nephra_gateway.worker import Finished, Work

_PROBES = frozenset({"/livez", "/healthz", "/readyz"})


class Traced:
    """ASGI around the application: each request is a span, of the caller's trace if it has one.

    Args:
        app: what serves requests.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; probes have no span."""
        if scope["type"] != "http" or scope["path"] in _PROBES or not traces.on():
            await self._app(scope, receive, send)
            return
        parent = Headers(scope=scope).get(traces.TRACEPARENT)
        # Not by its path: those are many, and some name files.
        with traces.span(f"{scope['method']} request", parent=parent, kind="server"):
            await self._app(scope, receive, send)


def observed(work: Work, figures: Figures) -> Work:
    """Work on tickets, each a span of the trace of who asked for it, whichever gateway it is."""

    async def do(journal: Journal) -> Finished:
        ticket = journal.ticket
        said: dict[str, Any] = {"ticket": ticket.id, "operation": ticket.operation}
        with (
            logs.about(**said),
            traces.span("ticket", parent=ticket.trace, attempt=ticket.attempts, **said),
        ):
            try:
                done = await work(journal)
            except LeaseLost:
                raise
            except NephraError as error:
                figures.worked.labels(ticket.operation, error.code).inc()
                raise
            except Exception:
                figures.worked.labels(ticket.operation, InternalError.default_code).inc()
                raise
        figures.worked.labels(ticket.operation, "ok").inc()
        return done

    return do
