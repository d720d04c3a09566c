"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
from fastapi import FastAPI

from nephra_contract.errors import Unavailable
from nephra_contract.paths import DataRoot
from nephra_gateway import problems
from nephra_gateway.auth import Tokens
from nephra_gateway.border import Border
from nephra_gateway.cases import Cases
from nephra_gateway.figures import Figures
from nephra_gateway.gateway import Gateway
from nephra_gateway.predictors import Predictors
from nephra_gateway.rates import Rates
from nephra_gateway.retries import longest_s
from nephra_gateway.routes import cases, information, operations
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.storage import Storage
from nephra_gateway.tickets import Tickets

#: Every request has a connection of its own. One that is kept would lead to the same pod again
#: and again, however many others there are behind the Service, and to one that is ending. What it
#: costs, a handshake inside of a cluster, is nothing beside the work.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)


def create(settings: GatewaySettings, ending: asyncio.Event | None = None) -> Border:
    """Make a gateway.

    Args:
        settings: as read at start.
        ending: set by who tells it to end, when requests that still run are to be cancelled.

    Raises:
        ValueError: settings with which it must not start.
    """
    tokens, figures = Tokens.of(settings), Figures()
    # A proxy of the environment has no business between the gateway and its predictors.
    http = httpx.AsyncClient(limits=_LIMITS, trust_env=False, headers={"Connection": "close"})
    predictors, data = Predictors(settings, http, figures), DataRoot(settings.data)
    held = Tickets(data, predictors)
    gateway = Gateway(
        settings,
        predictors,
        held,
        Cases(data, predictors, held, settings.max_voxels),
        Storage(data, figures),
        figures,
        ending or asyncio.Event(),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with http, _looking_after(gateway):
            yield
            await held.close()

    app = FastAPI(
        title="nephra", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.gateway = gateway
    for module in (information, cases, operations):  # the one that takes any name comes last
        app.include_router(module.router)
    problems.install(app)
    rates = Rates(settings.rate_per_s, settings.rate_burst)
    return Border(app, tokens, settings.max_body_bytes, figures, rates, settings.cors_origins)


@asynccontextmanager
async def _looking_after(gateway: Gateway) -> AsyncIterator[None]:
    """See to the data root, at once and now and then; keep metrics fresh if they have a port."""
    with suppress(Unavailable):  # it is said in the log, and by /healthz
        await gateway.storage.check()
    settings = gateway.settings
    abandoned_s = longest_s(settings.operation_s, settings.retry_s)
    tasks = [asyncio.create_task(gateway.tickets.sweep(abandoned_s))]
    if settings.metrics_port != 0:
        gateway.figures.serve(settings.host, settings.metrics_port)
        tasks.append(asyncio.create_task(gateway.predictors.watch()))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
