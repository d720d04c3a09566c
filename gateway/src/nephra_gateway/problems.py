"""Every error of the gateway as `application/problem+json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from nephra_contract import logs
from nephra_contract.errors import (
    Cancelled,
    Failed,
    InternalError,
    NephraError,
    NotFound,
    Refused,
    RequestInvalid,
    Unauthorized,
    Unprocessable,
    full_disk,
)
from nephra_contract.messages import Problem

PROBLEM_TYPE = "application/problem+json"


class MethodRefused(Refused):
    """An address that exists, asked with a method that it does not have."""

    status = 405
    default_code = "method_not_allowed"
    title = "Method not allowed"


class WrongMediaType(Refused):
    """A body that does not say that it is JSON."""

    status = 415
    default_code = "media_type_unsupported"
    title = "Media type not supported"


class BodyTooLarge(Refused):
    """A body over the limit."""

    status = 413
    default_code = "request_too_large"
    title = "Request too large"


class Stalled(Refused):
    """A body of which nothing has come for long."""

    status = 408
    default_code = "upload_stalled"
    title = "The request's body stopped coming"


class PreconditionFailed(Refused):
    """What `If-Match` or `If-None-Match` asked for is not so."""

    status = 412
    default_code = "precondition_failed"
    title = "Precondition failed"


class RangeMissing(Refused):
    """A range that lies behind the end of a file."""

    status = 416
    default_code = "range_not_satisfiable"
    title = "Range not satisfiable"


class DigestWrong(Unprocessable):
    """Bytes that are not those that their digest tells of."""

    default_code = "digest_mismatch"
    title = "Checksum does not match"


class WorkLost(Failed):
    """A predictor that died at the same work again and again."""

    status = 502
    default_code = "work_lost"
    title = "The work was lost"


class Relayed(NephraError):
    """A predictor's problem, handed on as it is.

    Args:
        problem: its document.
        retry_after: its header, if it had one.
    """

    def __init__(self, problem: Problem, retry_after: str | None = None) -> None:
        super().__init__(problem.detail, problem.action, code=problem.code)
        self.problem = problem
        self.retry_after = retry_after


def document(error: NephraError) -> Problem:
    """The problem document of an error."""
    return error.problem if isinstance(error, Relayed) else Problem.of(error)


def problem_response(error: NephraError) -> Response:
    """The HTTP answer that an error is."""
    problem, headers = document(error), {}
    retry_after = (
        error.retry_after
        if isinstance(error, Relayed)
        else error.extra.get("retry_after_s", error.retry_after_s)
    )
    if retry_after is None and problem.status == 503:
        retry_after = 10
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if isinstance(error, MethodRefused):
        headers["Allow"] = ", ".join(error.extra.get("allow", []))
    if problem.status == 401:
        known = isinstance(error, Unauthorized) and error.code == "token_unknown"
        headers["WWW-Authenticate"] = 'Bearer realm="nephra"' + (
            ', error="invalid_token"' if known else ""
        )
    return JSONResponse(
        problem.model_dump(mode="json"), problem.status, headers, media_type=PROBLEM_TYPE
    )


def ours(error: Exception) -> NephraError:
    """Any exception as one of ours; what nobody foresaw is logged, and hidden from callers."""
    if isinstance(error, NephraError):
        return error
    full = full_disk(error)
    if full is not None:
        return full
    logs.defect("unexpected error", error)
    return InternalError(
        "nephra failed at this request; the log of the gateway says where.",
        "Report it with the time of the request.",
    )


def install(app: FastAPI) -> None:
    """Let an application answer every error as a problem."""
    answers: dict[type[Exception], Callable[[Any], NephraError]] = {
        NephraError: ours,
        RequestValidationError: _invalid,
        HTTPException: _http,
        ClientDisconnect: _hung_up,
        Exception: ours,
    }
    for kind, translate in answers.items():
        app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Callable[[Any], NephraError]) -> Any:
    async def handle(request: Request, error: Exception) -> Response:
        found = translate(error)
        request.state.members = {**getattr(request.state, "members", {}), "code": found.code}
        return problem_response(found)

    return handle


def _invalid(error: RequestValidationError) -> NephraError:
    found = [
        {"member": ".".join(str(p) for p in e["loc"]), "problem": e["msg"]} for e in error.errors()
    ]
    return RequestInvalid(
        "The request is not understood.", "The documentation at /docs shows it.", errors=found
    )


def _http(error: HTTPException) -> NephraError:
    if error.status_code == 404:
        return NotFound("There is nothing at this address.", "The documentation is at /docs.")
    allowed = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow", "")
    return MethodRefused(
        "This address does not answer that method.",
        "The documentation at /docs shows which.",
        allow=[method.strip() for method in allowed.split(",") if method.strip()],
    )


def _hung_up(error: ClientDisconnect) -> NephraError:
    del error
    return Cancelled("The caller has hung up.", "Send the request again to start anew.")
