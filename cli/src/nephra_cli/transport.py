"""HTTP as the client speaks it: its token, and errors as sentences."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from nephra_contract.errors import NephraError, Unavailable
from nephra_contract.messages import Problem

M = TypeVar("M", bound=BaseModel)

#: A token, or what reads one.
Token = str | Callable[[], str | None] | None

#: The code of an error for a connection that broke when the request had been sent.
BROKEN = "connection_broken"

#: What an ingress or a load balancer says where it has no gateway, or not in time.
_PASSING = {
    502: "the gateway broke the connection off",
    503: "no gateway is ready",
    504: "the gateway did not answer in time",
}


class RemoteError(NephraError):
    """What the gateway said instead of an answer.

    Args:
        problem: its problem document; `detail`, `action` and `code` are this error's own.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail, problem.action, code=problem.code)
        self.problem = problem


class Bearer(httpx.Auth):
    """The bearer token; read again where it is refused: each start of `nephra up` makes a new one.

    Args:
        token: the token, or what reads it.
    """

    def __init__(self, token: Token) -> None:
        self._read = token if callable(token) else lambda: token
        self._token = self._read()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with the token, and once more with a newer one."""
        self._sign(request)
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED and self._renew():
            self._sign(request)
            yield request

    def _sign(self, request: httpx.Request) -> None:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"

    def _renew(self) -> bool:
        try:
            fresh = self._read()
        except NephraError:  # what makes tokens is not up yet
            return False
        if not fresh or fresh == self._token:
            return False
        self._token = fresh
        return True


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """What goes wrong with a connection to `url` within the block becomes a sentence.

    Raises:
        Unavailable: what did.
    """
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
            code=BROKEN,
        ) from error


def problem_of(response: httpx.Response) -> NephraError:
    """The error that a response is, whoever said it."""
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


def is_passing(error: NephraError) -> bool:
    """Whether asking again may help: nobody there, not ready, a connection that broke.

    What an ingress says while it has no gateway, 404 without words among them, is passing too.
    """
    if isinstance(error, RemoteError):
        return error.problem.status in _PASSING or error.code == "not_nephra"
    return isinstance(error, Unavailable)


def parse(kind: type[M], body: Any) -> M:
    """A body as a message.

    Raises:
        Unavailable: it is none.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise not_nephra() from error


def items(body: Any, member: str) -> list[Any]:
    """A list, whether it stands alone or as a member of an object.

    Raises:
        Unavailable: there is none.
    """
    found = body.get(member) if isinstance(body, dict) else body
    if not isinstance(found, list):
        raise not_nephra()
    return found


def not_nephra() -> Unavailable:
    """The error for an answer that is none of a gateway."""
    return Unavailable(
        "The server's answer is not one of a nephra gateway.",
        "Check the address, and that command and gateway are of one version.",
        code="not_nephra",
    )
