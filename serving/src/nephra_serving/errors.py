"""Every error of a predictor as `application/problem+json`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from nephra_contract.errors import (
    NephraError,
    NotFound,
    OperationUnknown,
    Refused,
    RequestInvalid,
    Unavailable,
)
from nephra_contract.messages import Problem
from nephra_serving import sdk
from nephra_serving.defects import ours

PROBLEM_TYPE = "application/problem+json"


class MethodRefused(Refused):
    """An address that exists, asked with a method that it does not have."""

    status = 405
    default_code = "method_not_allowed"
    title = "Method not allowed"


def problem_response(error: NephraError) -> Response:
    """The HTTP answer that an error is."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    content = Problem.of(error).model_dump(mode="json")
    return JSONResponse(content, error.status, headers, media_type=PROBLEM_TYPE)


def install(app: FastAPI) -> None:
    """Let an application answer every error as a problem, KServe's own among them."""
    answers: dict[type[Exception], Any] = {
        NephraError: ours,
        sdk.ModelNotFound: _model_not_found,
        sdk.ModelNotReady: _not_ready,
        sdk.ServerNotReady: _not_ready,
        sdk.InvalidInput: _invalid_input,
        NotImplementedError: _not_offered,
        RequestValidationError: _invalid_input,
        HTTPException: _http,
        Exception: ours,
    }
    for kind, translate in answers.items():
        app.add_exception_handler(kind, _handler(translate))


def _handler(translate: Any) -> Any:
    async def handle(_request: Request, error: Exception) -> Response:
        return problem_response(translate(error))

    return handle


def _model_not_found(_error: Exception) -> NephraError:
    return OperationUnknown(
        "This predictor has no model of that name.", "GET /operations lists what it offers."
    )


def _not_ready(_error: Exception) -> NephraError:
    return Unavailable("The model is not ready yet.", "Try again shortly.", code="model_not_ready")


def _invalid_input(_error: Exception) -> NephraError:
    return RequestInvalid(
        'The request\'s body is not JSON of the form {"instances": [{…}]}.',
        "GET /operations shows what each operation takes.",
        code="body_not_json",
    )


def _not_offered(_error: Exception) -> NephraError:
    return NotFound("This is not offered here.", "Use POST /v1/models/<model>:predict.")


def _http(error: HTTPException) -> NephraError:
    if error.status_code == 404:
        return NotFound("There is nothing at this address.", "GET /operations lists what is.")
    return MethodRefused(
        "This address does not answer that method.", "Use the methods that the documentation shows."
    )
