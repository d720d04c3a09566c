"""Who touched which file: one line in the log for each access."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from nephra_contract import logs
from nephra_contract.errors import NephraError
from nephra_gateway.auth import Caller

Action = Literal["read", "write", "delete", "list", "use"]


def access(
    caller: Caller,
    action: Action,
    path: str,
    outcome: int | str,
    *,
    count_bytes: int | None = None,
    ticket: str | None = None,
) -> None:
    """Say that somebody has, or would have, touched a file.

    Args:
        caller: who.
        action: what; `use` is to name it in a request for work.
        path: relative to the data root, as the request had it.
        outcome: the HTTP status, or the code of the problem.
        count_bytes: how many went over the wire.
        ticket: the work that it is used for.
    """
    logs.line(
        "audit",
        who=caller.name,
        action=action,
        path=path,
        outcome=outcome,
        bytes=count_bytes,
        ticket=ticket,
    )


@dataclass
class Seen:
    """An access on its way.

    Args:
        caller: who.
        action: what.
        path: relative to the data root.
        outcome: None: it is told later.
    """

    caller: Caller
    action: Action
    path: str
    outcome: int | str | None = "failed"
    count_bytes: int | None = None

    def tell(self, outcome: int | str, count_bytes: int | None) -> None:
        """Say how it ended."""
        access(self.caller, self.action, self.path, outcome, count_bytes=count_bytes)


@contextmanager
def watched(caller: Caller, action: Action, path: str) -> Iterator[Seen]:
    """Say how an access has ended, be it with an error."""
    seen = Seen(caller, action, path)
    try:
        yield seen
    except NephraError as error:
        seen.outcome = error.code
        raise
    except asyncio.CancelledError:
        seen.outcome = "cancelled"
        raise
    finally:
        if seen.outcome is not None:
            seen.tell(seen.outcome, seen.count_bytes)


@dataclass
class Used:
    """A request for work, and its ticket once there is one."""

    ticket: str | None = None


@contextmanager
def using(caller: Caller, request: Mapping[str, Any]) -> Iterator[Used]:
    """Say which files a request for work names: each once, also where it is refused."""
    used = Used()
    said: int | str = "accepted"
    try:
        yield used
    except NephraError as error:
        said = error.code
        raise
    finally:
        for path in dict.fromkeys(paths_of(request)):
            access(caller, "use", path, said, ticket=used.ticket)


def paths_of(request: Mapping[str, Any]) -> Iterator[str]:
    """The files that a request names to be read: members that end in `_path`, and phases."""
    for member, value in request.items():
        if member == "phases" and isinstance(value, Mapping):
            yield from (path for path in value.values() if isinstance(path, str))
        elif member.endswith("_path") and member != "output_path":
            named = value if isinstance(value, list) else [value]
            yield from (path for path in named if isinstance(path, str))
