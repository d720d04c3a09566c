"""How many requests each token may make: a bucket that fills as time passes (token bucket)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nephra_contract.errors import Refused


class TooManyRequests(Refused):
    """More requests than the caller may make."""

    status = 429
    default_code = "rate_limited"
    title = "Too many requests"


@dataclass
class _Bucket:
    left: float
    at_s: float


@dataclass
class Rates:
    """How many requests each caller has left; of this process alone.

    Args:
        per_s: a second; 0: any number.
        burst: at once, after a pause.
        clock: seconds that never go back.
    """

    per_s: float = 0
    burst: int = 1
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict, repr=False)

    def take(self, name: str) -> None:
        """Let a caller make one request, or not.

        Raises:
            TooManyRequests: none is left; `retry_after_s` says when there is one.
        """
        if self.per_s == 0:
            return
        now_s = self.clock()
        bucket = self._buckets.setdefault(name, _Bucket(self.burst, now_s))
        filled = bucket.left + (now_s - bucket.at_s) * self.per_s
        bucket.left, bucket.at_s = min(filled, self.burst), now_s
        if bucket.left < 1:
            wait_s = math.ceil((1 - bucket.left) / self.per_s)
            raise TooManyRequests(
                f"The token '{name}' makes more than {self.per_s:g} requests a second.",
                f"Send it again in {wait_s} s.",
                retry_after_s=wait_s,
            )
        bucket.left -= 1
