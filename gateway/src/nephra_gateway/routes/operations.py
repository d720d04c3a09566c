"""`POST /<operation>`: whatever the predictors offer, each under its name."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from nephra_contract.errors import NotFound, RequestInvalid
from nephra_gateway import audit
from nephra_gateway.auth import caller_of
from nephra_gateway.callbacks import check_callback
from nephra_gateway.delivery import body_of, deliver
from nephra_gateway.gateway import gateway_of
from nephra_gateway.jobs import CASES
from nephra_gateway.openapi import methods_of
from nephra_gateway.problems import MethodRefused
from nephra_gateway.wishes import wishes_of

router = APIRouter()

_OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]

#: The gateway gives these.
_OURS = ("ticket", "step", "attempt")


async def run(request: Request) -> Response:
    """Run one operation.

    Raises:
        NephraError: it is not offered, or what its predictor says.
    """
    gateway, operation = gateway_of(request), str(request.path_params["operation"])
    _check_method(methods_of(operation))
    request.state.members["operation"] = operation[:100]
    await gateway.predictors.expect(operation)
    request.state.counted = operation if gateway.predictors.knows(operation) else "unknown"
    body = await body_of(request, gateway.settings.max_body_bytes)
    for member in _OURS:
        if member in body:
            raise RequestInvalid(
                f"'{member}' is given by the gateway, not by the request.", "Leave it out."
            )
    wishes, caller = wishes_of(request), caller_of(request)
    with audit.using(caller, body) as used:
        check_callback(gateway.settings, wishes.callback_url)
        ticket = await gateway.submissions.submit(operation, body, caller, wishes)
        request.state.members["ticket"] = used.ticket = ticket.id
    return await deliver(request, ticket, wishes)


# As a plain route: what FastAPI would do for each request, all is done here.
router.add_route("/{operation:path}", run, methods=["POST"])


@router.api_route("/{address:path}", methods=_OTHER_METHODS)
async def nothing(address: str, request: Request) -> Response:
    """Tell apart an address that takes POST alone from one that does not exist.

    Raises:
        MethodRefused, NotFound: always one of them.
    """
    posted = address == CASES or gateway_of(request).predictors.knows(address)
    _check_method(["POST"] if posted else methods_of(address))
    raise NotFound("There is nothing at this address.", "The documentation is at /docs.")


def _check_method(methods: list[str]) -> None:
    """Refuse a method at an address that takes these alone, if any."""
    if methods:
        raise MethodRefused(
            f"This address takes {' and '.join(methods)} alone.",
            "The documentation at /docs shows it.",
            allow=methods,
        )
