"""One KServe model for each operation of a runner."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from nephra_contract import logs, traces
from nephra_contract.errors import NephraError, Refused, RequestInvalid
from nephra_contract.messages import Event, OperationDescription
from nephra_serving import sdk
from nephra_serving.calls import Call, current
from nephra_serving.hands import Listen
from nephra_serving.streaming import MEDIA_TYPE, stream
from nephra_serving.work import Job, Workers

_SHAPE = 'Send {"instances": [{…}]}, one object for each piece of work.'


class WrongMediaType(Refused):
    """A body that does not say that it is JSON."""

    status = 415
    default_code = "media_type_unsupported"
    title = "Media type not supported"


class OperationModel(sdk.Model):  # type: ignore[misc]
    """An operation as a KServe custom predictor, under the last part of its name.

    Args:
        operation: as the worker describes it.
        workers: do it.
        heartbeat_s: the longest silence of a stream.
    """

    def __init__(
        self, operation: OperationDescription, workers: Workers, heartbeat_s: float
    ) -> None:
        super().__init__(operation.model, return_response_headers=True)
        self._operation = operation
        self._workers = workers
        self._heartbeat_s = heartbeat_s

    async def healthy(self) -> bool:
        """Whether every worker has loaded what it needs."""
        return self._workers.ready

    def load(self) -> bool:
        """Nothing: workers load by themselves."""
        return self._workers.ready

    async def predict(
        self,
        payload: Any,
        headers: Mapping[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> bytes | AsyncIterator[bytes]:
        """Answer `{"instances": […]}` with `{"predictions": […]}`, plain or as a stream.

        Raises:
            NephraError: whatever went wrong, before a stream has begun.
        """
        instances = _instances(payload, headers or {})
        call = current()
        call.members |= {"operation": self._operation.name, "ticket": _ticket(instances)}

        parent = (headers or {}).get(traces.TRACEPARENT)

        async def work(listen: Listen) -> dict[str, Any]:
            said = dict(call.members)
            with (
                logs.about(**said),
                traces.span(self._operation.name, parent=parent, kind="server", **said),
            ):
                return await self._work(instances, listen, call)

        if MEDIA_TYPE in (headers or {}).get("accept", ""):
            call.media_type = MEDIA_TYPE
            return stream(work, call, self._heartbeat_s)
        answer = await work(_ignore)
        if response_headers is not None:
            response_headers["content-type"] = "application/json"
        return json.dumps(answer).encode()

    async def _work(
        self, instances: list[dict[str, Any]], listen: Listen, call: Call
    ) -> dict[str, Any]:
        job = Job(self._operation.name, self.name, instances, call, listen)
        try:
            answers = await self._workers.run(job)
        except NephraError as error:
            call.members["code"] = error.code
            raise
        call.members["ticket"] = answers[-1].get("ticket")
        return {"predictions": answers}


def _ignore(_event: Event) -> None:
    pass


def _instances(payload: Any, headers: Mapping[str, str]) -> list[dict[str, Any]]:
    """The list of requests in a body.

    Raises:
        WrongMediaType: not JSON by its own words.
        RequestInvalid: JSON of another form.
    """
    media_type = headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongMediaType("The body is not application/json.", _SHAPE)
    if isinstance(payload, (bytes, str)):
        # KServe leaves a body alone whose type carries parameters, such as a charset.
        try:
            payload = json.loads(payload)
        except ValueError as error:
            raise RequestInvalid("The body is not JSON.", _SHAPE, code="body_not_json") from error
    if not isinstance(payload, dict) or set(payload) != {"instances"}:
        raise RequestInvalid("The body must be an object with 'instances' alone.", _SHAPE)
    instances = payload["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestInvalid("'instances' must be a list with at least one object.", _SHAPE)
    if not all(isinstance(i, dict) for i in instances):
        raise RequestInvalid("Each of 'instances' must be an object.", _SHAPE)
    return instances


def _ticket(instances: list[dict[str, Any]]) -> str | None:
    """What the caller says; not to be trusted further than a line in the log."""
    ticket = instances[0].get("ticket")
    return ticket[:32] if isinstance(ticket, str) else None
