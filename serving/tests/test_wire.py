"""What crosses between a server and its worker."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from nephra_contract.errors import (
    BundleInvalid,
    Cancelled,
    Failed,
    NephraError,
    Refused,
    Unavailable,
    Unprocessable,
)
from nephra_contract.messages import Problem
from nephra_serving.wire import Wire, from_error, to_error
from nephra_serving.worker import refer


class OwnError(Unprocessable):
    """An error that only an operation's package knows."""

    status = 418
    default_code = "own"
    title = "Something of an operation's own"
    retry_after_s = 7


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OwnError("What.", "Do.", member="mask_path", numbers=[1, 2]), Refused),
        (BundleInvalid("What.", "Do."), Refused),
        (Unavailable("What.", "Do.", code="finer"), Failed),
        (Cancelled("What.", "Do.", code="ticket_closed"), Cancelled),
    ],
)
def test_an_error_is_the_same_on_the_other_side(error: NephraError, kind: type) -> None:
    """Status, title, code, words, further members and Retry-After; whoever made its class."""
    crossed = to_error(json.loads(json.dumps(from_error(error))))
    assert isinstance(crossed, kind)
    assert Problem.of(crossed) == Problem.of(error)
    assert crossed.status == error.status
    assert crossed.retry_after_s == error.retry_after_s


def test_messages_come_whole_and_in_order() -> None:
    """However the socket cuts them; None when the other end has gone."""
    one, other = socket.socketpair()
    here, there = Wire(one), Wire(other)
    said: list[dict[str, Any]] = [{"a": 1}, {"b": "ü" * 30_000}, {}]
    for message in said:
        here.send(message)
    here.close()
    assert [there.receive() for _ in said] == said
    assert there.receive() is None
    there.close()


def test_a_function_is_found_by_its_module() -> None:
    """Another process imports it from there."""
    assert refer(refer) == {"name": "refer", "module": "nephra_serving.worker"}  # type: ignore[arg-type]


def test_a_function_without_a_name_is_refused() -> None:
    """At start, by a sentence for whoever writes a predictor."""
    nameless: Callable[..., Any] = lambda data: data  # noqa: E731
    with pytest.raises(TypeError, match="function of a module"):
        refer(nameless)
