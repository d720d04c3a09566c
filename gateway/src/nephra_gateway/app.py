"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from nephra_contract.paths import DataRoot
from nephra_gateway import problems
from nephra_gateway.auth import Tokens
from nephra_gateway.border import Border
from nephra_gateway.cases import Cases
from nephra_gateway.gateway import Gateway
from nephra_gateway.predictors import Predictors
from nephra_gateway.routes import cases, information, operations
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.tickets import Tickets

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


def create(settings: GatewaySettings) -> Border:
    """Make a gateway.

    Raises:
        ValueError: settings with which it must not start.
    """
    tokens = Tokens.of(settings)
    # A proxy of the environment has no business between the gateway and its predictors.
    http = httpx.AsyncClient(limits=_LIMITS, trust_env=False)
    predictors, data = Predictors(settings, http), DataRoot(settings.data)
    held = Tickets(data, predictors)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with http:
            yield
            await held.close()

    app = FastAPI(
        title="nephra", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.gateway = Gateway(
        settings, predictors, held, Cases(data, predictors, held, settings.max_voxels)
    )
    for module in (information, cases, operations):  # the one that takes any name comes last
        app.include_router(module.router)
    problems.install(app)
    return Border(app, tokens, settings.max_body_bytes)
