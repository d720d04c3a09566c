from __future__ import annotations

import asyncio
from types import ModuleType

import httpx

from nephra_contract.paths import DataRoot
from nephra_serving.server import Server
from nephra_serving.settings import ServingSettings


def test_a_model_that_is_not_ready_is_said_to_be_so(toy: ModuleType, data: DataRoot) -> None:
    """503 with Retry-After from the model, from a request to it, and from the server."""
    server = Server("toy", toy.build(data), ServingSettings(data=data.root))
    server.registered_models.get_model("keep").ready = False

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(server.rest.application())
        async with httpx.AsyncClient(transport=transport, base_url="http://toy") as client:
            return [
                await client.get("/v1/models/keep"),
                await client.get("/readyz"),
                await client.get("/v2/health/ready"),
                await client.post("/v1/models/keep:predict", json={"instances": [{}]}),
                await client.get("/v1/models/endless"),
            ]

    *unready, other = asyncio.run(ask())
    for answer in unready:
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
    assert other.status_code == 200
