"""What there is: labels, operations, bundles, health, documentation."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from nephra_contract import labels as names
from nephra_contract.errors import Unavailable
from nephra_contract.messages import BundleDescription, OperationDescription
from nephra_gateway.gateway import gateway_of
from nephra_gateway.messages import Health
from nephra_gateway.openapi import describe
from nephra_gateway.reference import page

router = APIRouter()


@router.get("/labels")
async def labels() -> dict[str, dict[str, Any]]:
    """What the numbers in a mask mean: by name the number, group and colour."""
    return names.describe(names.table())


@router.get("/operations")
async def operations(request: Request) -> list[OperationDescription]:
    """What the predictors offer, with the JSON schema of each request."""
    return await gateway_of(request).predictors.operations()


@router.get("/bundles")
async def bundles(request: Request) -> list[BundleDescription]:
    """The models that are loaded, with what they were trained and measured on."""
    return await gateway_of(request).predictors.bundles()


@router.get("/livez")
async def livez() -> Health:
    """Whether the gateway lives."""
    return Health(status="alive")


@router.get("/healthz")
async def healthz(request: Request) -> Health:
    """Whether the gateway can take requests; predictors that are down are waited for.

    Raises:
        Unavailable: its data root cannot be used.
    """
    await gateway_of(request).storage.check()
    return Health(status="alive")


@router.get("/readyz")
async def readyz(request: Request) -> Health:
    """Whether all predictors are ready.

    Raises:
        Unavailable: some are not; the problem names them.
    """
    down = await gateway_of(request).predictors.down()
    if down:
        raise Unavailable(f"Not ready: {', '.join(down)}.", "Try again shortly.", predictors=down)
    return Health(status="ready")


@router.get("/openapi.json")
async def openapi(request: Request) -> dict[str, Any]:
    """This API in OpenAPI 3.1, the operations that are offered now included."""
    gateway = gateway_of(request)
    return describe(await gateway.predictors.operations(), gateway.settings.auth)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """This API as a page, without anything from other hosts."""
    return HTMLResponse(page(await openapi(request)))
