"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from nephra_gateway import problems
from nephra_gateway.assembly import assemble, going_on
from nephra_gateway.auth import Tokens
from nephra_gateway.border import Border
from nephra_gateway.ending import Ending
from nephra_gateway.rates import Rates
from nephra_gateway.routes import cache, cases, files, information, operations, page, tickets
from nephra_gateway.settings import GatewaySettings

#: The one that takes any name comes last.
_ROUTES = (information, tickets, files, cache, cases, page, operations)


def create(settings: GatewaySettings, ending: Ending | None = None) -> Border:
    """Make a gateway.

    Args:
        settings: as read at start.
        ending: set by who tells it to end.

    Raises:
        ValueError: settings with which it must not start.
    """
    tokens = Tokens.of(settings)
    gateway = assemble(settings, ending or Ending())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with going_on(gateway):
            yield

    app = FastAPI(
        title="nephra", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.gateway = gateway
    for module in _ROUTES:
        app.include_router(module.router)
    problems.install(app)
    rates = Rates(settings.rate_per_s, settings.rate_burst)
    return Border(
        app, tokens, settings.max_body_bytes, gateway.figures, rates, settings.cors_origins
    )
