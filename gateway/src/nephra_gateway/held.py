"""A ticket that this gateway works on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Literal

from nephra_gateway.store.tickets import Lease

#: Why the work for a ticket is stopped: its caller wants it no more, another worker has it, or
#: this gateway has to end.
Reason = Literal["cancelled", "lost", "ending"]


@dataclass
class Held:
    """A ticket that is worked on.

    Args:
        lease: without it nothing is written.
        reason: why it was stopped, if it was.
    """

    lease: Lease
    reason: Reason | None = None
    _task: asyncio.Task[None] | None = None

    def begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do the work, in a task of its own."""
        self._task = asyncio.create_task(work)
        return self._task

    @property
    def task(self) -> asyncio.Task[None]:
        """Does the work."""
        assert self._task is not None
        return self._task

    def stop(self, reason: Reason) -> None:
        """Stop the work; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self.task.cancel()
