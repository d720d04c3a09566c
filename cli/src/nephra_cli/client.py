"""A small Python client of the gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from nephra_contract.errors import NephraError, RequestInvalid, Unavailable
from nephra_contract.messages import (
    Answer,
    BundleDescription,
    Event,
    OperationDescription,
    Problem,
)

NDJSON = "application/x-ndjson"
_OPERATION = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")
M = TypeVar("M", bound=BaseModel)

#: What an ingress or a load balancer says where it has no gateway, or not in time.
_PASSING = {
    502: "the gateway broke the connection off",
    503: "no gateway is ready",
    504: "the gateway did not answer in time",
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class RemoteError(NephraError):
    """What the gateway said instead of an answer.

    Args:
        problem: its problem document; `detail`, `action` and `code` are this error's own.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, problem.action, code=problem.code)
        self.problem = problem


class Client:
    """Talks to one gateway. Paths in requests are relative to its data root.

    Args:
        url: of the gateway, for example `http://127.0.0.1:8000` or, where an ingress has it under
            a path, `https://host/nephra`.
        token: the bearer token, if the gateway wants one.
        timeout_s: longest silence that is waited through; None waits for ever.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestInvalid(
                f"'{url}' is not the address of a gateway.",
                "Give it as http://HOST:PORT or https://HOST.",
            )
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            # A proxy of the environment would be asked for the caller's own loopback.
            trust_env=parts.hostname not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, operation: str, **request: Any) -> Answer:
        """Run one operation and wait for its answer.

        Raises:
            NephraError: what the gateway said no to, or that it does not answer.
        """
        # As a stream: what stands between would cut a connection on which nothing comes.
        last = list(self.stream(operation, **request))[-1]
        return _parse(Answer, last.result)

    def stream(self, operation: str, **request: Any) -> Iterator[Event]:
        """Run one operation (or `cases`); yields its events, the last of which is the result.

        Closing the iterator hangs up, which cancels the work.

        Raises:
            NephraError: as `run`; a `problem` event is raised, not yielded.
        """
        with (
            _reachable(self.url),
            self._http.stream(
                "POST", _route(operation), json=request, headers={"Accept": NDJSON}
            ) as response,
        ):
            if response.is_error:
                response.read()
                raise _problem(response)
            yield from _events(response.iter_lines())

    def case(
        self,
        phases: Mapping[str, str],
        structures: Sequence[str] | None = None,
        **more: Any,
    ) -> Iterator[Event]:
        """Work on a whole case.

        Args:
            phases: phase (`A`, `P`, `D`) → path.
            structures: what is wanted; None for all that the phases allow.
            more: further members of the request.
        """
        request: dict[str, Any] = {"phases": dict(phases), **more}
        if structures is not None:
            request["structures"] = list(structures)
        return self.stream("cases", **request)

    def ready(self) -> None:
        """Ask whether all predictors are ready.

        Raises:
            NephraError: some are not; it names them.
        """
        self._json("GET", "/readyz")

    def labels(self) -> Any:
        """The label table, as the gateway gives it."""
        return self._json("GET", "/labels")

    def operations(self) -> list[OperationDescription]:
        """What the predictors behind the gateway offer."""
        found = _items(self._json("GET", "/operations"), "operations")
        return [_parse(OperationDescription, o) for o in found]

    def bundles(self) -> list[BundleDescription]:
        """The models that are loaded."""
        found = _items(self._json("GET", "/bundles"), "bundles")
        return [_parse(BundleDescription, b) for b in found]

    def _json(self, method: str, path: str, **request: Any) -> Any:
        with _reachable(self.url):
            response = self._http.request(method, path, **request)
        if response.is_error:
            raise _problem(response)
        try:
            return response.json()
        except ValueError as error:
            raise _not_nephra() from error


def _route(operation: str) -> str:
    if not _OPERATION.fullmatch(operation):
        raise RequestInvalid(
            f"'{operation}' is not the name of an operation.",
            "`nephra operations` lists them, for example inference/tumor.",
        )
    return f"/{operation}"


def _events(lines: Iterator[str]) -> Iterator[Event]:
    for line in lines:
        if not line.strip():
            continue
        try:
            event = Event.model_validate_json(line)
        except ValidationError as error:
            raise _not_nephra() from error
        if event.event == "problem":
            raise RemoteError(_parse(Problem, event.problem or {}))
        yield event
        if event.event == "result":
            return
    raise Unavailable(
        "The connection ended before the result came.", "Look into the log, then try again."
    )


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise Unavailable(
            f"The gateway at {url} was silent for too long.", "Try again with a longer timeout."
        ) from error
    except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.ProxyError) as error:
        raise Unavailable(
            f"No gateway answers at {url}.", "Start one with `nephra up`, or mend the address."
        ) from error
    except httpx.HTTPError as error:
        raise Unavailable(
            f"The connection to {url} broke before the answer was there.",
            "Look into the log of the gateway and of what stands before it, then try again.",
        ) from error


def _problem(response: httpx.Response) -> NephraError:
    try:
        return RemoteError(Problem.model_validate(response.json()))
    except ValueError:
        if response.status_code in _PASSING:
            return Unavailable(
                f"What stands before the gateway answered {response.status_code}: "
                f"{_PASSING[response.status_code]}.",
                "Try again shortly; if that stays so, look whether the gateway is ready, and "
                "which limits its ingress has.",
                code="gateway_unreachable",
            )
        return RemoteError(
            Problem(
                title="Not understood",
                status=response.status_code,
                code="not_nephra",
                detail=f"The server answered {response.status_code} without saying why.",
                action="Is this the address of a nephra gateway?",
            )
        )


def _items(body: Any, member: str) -> list[Any]:
    """A list, whether it stands alone or as a member of an object."""
    found = body.get(member) if isinstance(body, dict) else body
    if not isinstance(found, list):
        raise _not_nephra()
    return found


def _parse(kind: type[M], body: Any) -> M:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _not_nephra() from error


def _not_nephra() -> Unavailable:
    return Unavailable(
        "The server's answer is not one of a nephra gateway.",
        "Check the address, and that command and gateway are of one version.",
        code="not_nephra",
    )
