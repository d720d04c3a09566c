"""One request to one predictor, over a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from pydantic import ValidationError

from nephra_contract import logs, traces
from nephra_contract.errors import InternalError, TimedOut, Unavailable
from nephra_contract.messages import Event, Problem
from nephra_gateway.problems import Relayed
from nephra_gateway.retries import Emit, Loss, Reason

NDJSON = "application/x-ndjson"

#: Said by what stands between gateway and predictor, these are not about the request.
_PASSING = (502, 503, 504)


async def attempt(
    http: httpx.AsyncClient,
    name: str,
    url: str,
    request: Mapping[str, Any],
    emit: Emit,
    timeout: httpx.Timeout,
) -> dict[str, Any]:
    """Have a request done; cancelling this closes the connection, and so the work.

    Args:
        http: the connections.
        name: of the predictor.
        url: of its model's `:predict`.
        request: the instance.
        emit: receives progress and artifacts on the way.
        timeout: to reach it, and of its silence.

    Returns:
        The prediction.

    Raises:
        Loss: it came to nothing for no fault of the request.
        Relayed: the predictor's own problem.
        TimedOut: a predictor that does not stream was silent for too long.
        InternalError: an answer that is not understood.
    """
    begun = False
    try:
        async with http.stream(
            "POST",
            url,
            json={"instances": [dict(request)]},
            headers={"Accept": NDJSON, **traces.headers()},
            timeout=timeout,
        ) as response:
            if response.is_error:
                await response.aread()
                raise _refusal(name, response)
            if response.headers.get("content-type", "").startswith("application/json"):
                # Somebody else's KServe predictor, that does not stream.
                await response.aread()
                return _prediction(name, response.json())
            begun = True
            return await _follow(name, response, emit)
    except httpx.HTTPError as error:
        raise _broken(name, error, begun) from error
    except ValueError as error:
        raise strange(name) from error


def down(names: list[str]) -> Unavailable:
    """The error for predictors that do not answer."""
    said = " and ".join(f"'{n}'" for n in names)
    return Unavailable(
        f"The predictor {said} does not answer.",
        "Try again shortly; GET /readyz says when it is back.",
        predictors=names,
    )


def late(name: str) -> TimedOut:
    """The error for a predictor that took too long."""
    return TimedOut(
        f"The predictor '{name}' took too long.",
        "Try again, with a smaller volume or a longer limit.",
        predictors=[name],
    )


def strange(name: str) -> InternalError:
    """The error for an answer that is not one."""
    logs.line("predictor answered strangely", predictor=name)
    return InternalError(
        f"The predictor '{name}' gave an answer that is not understood.",
        "Check that gateway and predictors are of one version.",
        code="predictor_answer_invalid",
    )


async def _follow(name: str, response: httpx.Response, emit: Emit) -> dict[str, Any]:
    """The events of a stream; gives the result in the last one."""
    async for event in _events(name, response):
        if event.event == "problem":
            problem = Problem.model_validate(event.problem)
            if problem.status == Unavailable.status:
                raise _unavailable(name, Relayed(problem), taken=True)
            raise Relayed(problem)
        if event.event == "result":
            return _prediction(name, event.result)
        emit(event)
    raise Loss(name, "closed", down([name]), died=True)


async def _events(name: str, response: httpx.Response) -> AsyncIterator[Event]:
    async for line in response.aiter_lines():
        if line.strip():
            try:
                yield Event.model_validate_json(line)
            except ValidationError as error:
                raise strange(name) from error


def _prediction(name: str, result: Any) -> dict[str, Any]:
    predictions = result.get("predictions") if isinstance(result, dict) else None
    if not isinstance(predictions, list) or len(predictions) != 1:
        raise strange(name)
    prediction: dict[str, Any] = predictions[0]
    return prediction


def _refusal(name: str, response: httpx.Response) -> Exception:
    """A predictor's problem; what has none comes from a proxy on the way."""
    try:
        problem = Problem.model_validate(response.json())
    except ValueError:
        error = down([name])
        return Loss(name, "unavailable", error) if response.status_code in _PASSING else error
    relayed = Relayed(problem, response.headers.get("retry-after"))
    if problem.status == Unavailable.status:
        return _unavailable(name, relayed, taken=False)
    return relayed


def _unavailable(name: str, error: Relayed, taken: bool) -> Loss:
    """A predictor that says itself that it cannot: ending, not ready, its worker gone."""
    died = error.code == "worker_lost"
    reason: Reason = "worker_lost" if died else "unavailable"
    return Loss(name, reason, error, taken=taken, died=died)


def _broken(name: str, error: httpx.HTTPError, begun: bool) -> Loss | TimedOut:
    """What a failed connection means, by whether the answer had begun."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        return Loss(name, "unreachable", down([name]))
    if isinstance(error, httpx.ReadTimeout):
        # Streams have heartbeats: one that falls silent has lost its other end.
        return Loss(name, "silent", down([name]), died=True) if begun else late(name)
    return Loss(name, "closed", down([name]), died=begun)
