"""`POST /cases`: the whole way, from phases to a scene."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from nephra_contract.operation import invalid
from nephra_contract.results import new_ticket
from nephra_gateway.delivery import Emit, body_of, deliver
from nephra_gateway.gateway import gateway_of
from nephra_gateway.messages import CaseRequest

router = APIRouter()


@router.post("/cases")
async def cases(request: Request) -> Response:
    """Turn a patient's phases into masks and one named scene.

    Raises:
        NephraError: what cannot be done, before any work starts; or the step that failed.
    """
    gateway = gateway_of(request)
    body = await body_of(request, gateway.settings.max_body_bytes)
    try:
        asked = CaseRequest.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from error
    ticket = new_ticket()
    request.state.members |= {"operation": "cases", "ticket": ticket}
    made, warnings = await gateway.cases.prepare(asked)

    async def work(emit: Emit) -> dict[str, Any]:
        answer = await gateway.cases.run(asked, made, warnings, ticket, emit)
        return answer.model_dump(mode="json", exclude_none=True)

    return await deliver(request, work, gateway.settings.heartbeat_s)
