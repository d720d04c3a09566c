"""`POST /cases`: the whole way, from phases to a scene."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from nephra_contract.operation import invalid
from nephra_gateway import audit
from nephra_gateway.auth import caller_of
from nephra_gateway.callbacks import check_callback
from nephra_gateway.delivery import body_of, deliver
from nephra_gateway.gateway import Gateway, gateway_of
from nephra_gateway.jobs import CASES
from nephra_gateway.messages import CaseRequest
from nephra_gateway.predictors import NotYet
from nephra_gateway.wishes import wishes_of

router = APIRouter()


@router.post("/cases")
async def cases(request: Request) -> Response:
    """Turn a patient's phases into masks and one named scene.

    Raises:
        NephraError: what cannot be done, before any work starts; or the step that failed.
    """
    gateway = gateway_of(request)
    request.state.counted = CASES
    body = await body_of(request, gateway.settings.max_body_bytes)
    try:
        asked = CaseRequest.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from error
    wishes, caller = wishes_of(request), caller_of(request)
    with audit.using(caller, body) as used:
        check_callback(gateway.settings, wishes.callback_url)
        ticket = await gateway.submissions.submit(
            CASES, body, caller, wishes, lambda: _judge(gateway, asked)
        )
        request.state.members |= {"operation": CASES, "ticket": ticket.id}
        used.ticket = ticket.id
    return await deliver(request, ticket, wishes)


async def _judge(gateway: Gateway, asked: CaseRequest) -> None:
    """Refuse what cannot be done before there is a ticket; a predictor that may come is awaited."""
    try:
        await gateway.cases.prepare(asked)
    except NotYet:
        if gateway.settings.retry_s == 0:
            raise
