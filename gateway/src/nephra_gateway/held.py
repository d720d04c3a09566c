"""A ticket that this gateway works on."""

from __future__ import annotations

import asyncio
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
        task: does the work.
        reason: why it was stopped, if it was.
    """

    lease: Lease
    task: asyncio.Task[None]
    reason: Reason | None = None

    def stop(self, reason: Reason) -> None:
        """Stop the work; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self.task.cancel()
