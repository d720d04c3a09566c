"""So much progress as a person can follow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nephra_contract.messages import Event

#: Progress is said at most this often; a new stage is said at once.
INTERVAL_S = 0.25

Clock = Callable[[], float]


@dataclass
class Throttle:
    """Passes on so much progress as a person can follow, and never a step back.

    Args:
        interval_s: between two events of one stage.
        clock: monotonic seconds.
    """

    interval_s: float = INTERVAL_S
    clock: Clock = time.monotonic
    fraction: float = 0.0
    stage: str = ""
    _last_s: float = field(default=float("-inf"), repr=False)

    def admit(self, fraction: float, stage: str) -> Event | None:
        """The event to send, or None if one was sent a moment ago."""
        now = self.clock()
        fresh = bool(stage) and stage != self.stage
        if not fresh and fraction < 1 and now - self._last_s < self.interval_s:
            return None
        self.fraction = max(fraction, self.fraction)
        self.stage, self._last_s = stage or self.stage, now
        return Event(event="progress", stage=self.stage, fraction=round(self.fraction, 4))
