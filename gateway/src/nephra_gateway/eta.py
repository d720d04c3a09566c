"""How long a ticket may still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: Before this part is done, how long it took says nothing yet.
_TOO_EARLY = 0.02


@dataclass(frozen=True)
class Estimate:
    """Seconds that are left, from what is done and from how long such work took before.

    At the beginning the past is believed, in the end what has been seen of this one.

    Args:
        before_s: what such work took lately; None where there was none.
        begun: the part (0..1) that was done already when it was begun.
        clock: monotonic seconds.
    """

    before_s: float | None
    begun: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _started_s: float = field(default=-1.0, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_started_s", self.clock())

    def left_s(self, fraction: float) -> float | None:
        """Seconds that are left at a fraction (0..1) done; None where nothing is known."""
        if fraction - self.begun < _TOO_EARLY:
            whole_s = self.before_s
        else:
            seen_s = (self.clock() - self._started_s) / (fraction - self.begun)
            past_s = seen_s if self.before_s is None else self.before_s
            whole_s = fraction * seen_s + (1 - fraction) * past_s
        return None if whole_s is None else round(whole_s * (1 - fraction), 1)
