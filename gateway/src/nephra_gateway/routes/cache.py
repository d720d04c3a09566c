"""`GET /cache`: what the prediction cache holds, and how it has served."""

from __future__ import annotations

from fastapi import APIRouter, Request

from nephra_gateway.gateway import gateway_of
from nephra_gateway.messages import CacheView

router = APIRouter()


@router.get("/cache")
async def cache(request: Request) -> CacheView:
    """What the prediction cache holds, and how it has served, over all gateways.

    Raises:
        Unavailable: the database is away.
    """
    return await gateway_of(request).tools.cache.view()
