"""`POST /cases`: the whole way, from phases to a scene."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from nephra_contract.operation import invalid
from nephra_contract.results import new_ticket
from nephra_gateway.delivery import Emit, body_of, deliver
from nephra_gateway.gateway import Gateway, gateway_of
from nephra_gateway.messages import CaseRequest
from nephra_gateway.planning import Plan
from nephra_gateway.predictors import NotYet

router = APIRouter()


@router.post("/cases")
async def cases(request: Request) -> Response:
    """Turn a patient's phases into masks and one named scene.

    Raises:
        NephraError: what cannot be done, before any work starts; or the step that failed.
    """
    gateway = gateway_of(request)
    request.state.counted = "cases"
    body = await body_of(request, gateway.settings.max_body_bytes)
    try:
        asked = CaseRequest.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from error
    ticket = new_ticket()
    request.state.members |= {"operation": "cases", "ticket": ticket}

    async def prepare() -> tuple[Plan, list[str]]:
        return await gateway.cases.prepare(asked)

    prepared = await _prepare_now(gateway, prepare)

    async def work(emit: Emit) -> dict[str, Any]:
        if prepared is not None:
            made, warnings = prepared
        else:
            made, warnings = await gateway.predictors.patiently(prepare, emit)
        answer = await gateway.cases.run(asked, made, warnings, ticket, emit)
        return answer.model_dump(mode="json", exclude_none=True)

    return await deliver(request, work)


async def _prepare_now(
    gateway: Gateway, prepare: Callable[[], Awaitable[tuple[Plan, list[str]]]]
) -> tuple[Plan, list[str]] | None:
    """Judge a request before the answer begins; None if a predictor has to be waited for."""
    try:
        return await prepare()
    except NotYet:
        if gateway.settings.retry_s == 0:
            raise
        return None
