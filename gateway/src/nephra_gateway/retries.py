"""Trying again what a predictor lost: how often, for how long, and what the caller hears of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, Literal, TypeVar

from nephra_contract import logs
from nephra_contract.errors import NephraError
from nephra_contract.messages import Event
from nephra_gateway.figures import Figures
from nephra_gateway.problems import WorkLost

Emit = Callable[[Event], None]
Reason = Literal["unreachable", "closed", "silent", "unavailable", "worker_lost", "unknown"]
T = TypeVar("T")

#: A request that kills who works on it would else kill them one after the other.
MAX_DEATHS = 3

#: Work that is taken on and given back over and over comes to an end too.
_MAX_TAKEN = 10

#: Pauses double from the first to the last; half of each is chance, so that many do not come at
#: once to a predictor that has just come back.
_FIRST_S, _LAST_S = 0.2, 5.0

_chance = SystemRandom()


class Loss(Exception):
    """An attempt that came to nothing for no fault of the request.

    Args:
        predictor: whose attempt it was.
        reason: for metrics and the log.
        error: what the caller is told if it is not tried again.
        taken: the predictor had begun to answer.
        died: and did not live to end it.
    """

    def __init__(
        self,
        predictor: str,
        reason: Reason,
        error: NephraError,
        *,
        taken: bool = False,
        died: bool = False,
    ) -> None:
        super().__init__(f"{predictor}: {reason}")
        self.predictor = predictor
        self.reason: Reason = reason
        self.error = error
        self.taken = taken or died
        self.died = died


@dataclass
class Patience:
    """What is left of it for one request.

    Waiting for a predictor that is not there is bounded by time alone, counted from the first
    loss since the work was last taken on; deaths in the middle of the work by their number.

    Args:
        retry_s: how long is waited; 0 never tries again.
        clock: monotonic seconds.
    """

    retry_s: float
    clock: Callable[[], float] = time.monotonic
    _since_s: float | None = field(default=None, repr=False)
    _pauses: int = field(default=0, repr=False)
    _taken: int = field(default=0, repr=False)
    _deaths: int = field(default=0, repr=False)

    def after(self, loss: Loss) -> float:
        """Seconds to wait after a loss before the next attempt.

        Raises:
            WorkLost: the work has died too often.
            NephraError: the loss's own, when there is no more time.
        """
        now = self.clock()
        if self._since_s is None or loss.taken:
            self._since_s, self._pauses = now, 0
        self._taken += loss.taken
        self._deaths += loss.died
        left_s = self._since_s + self.retry_s - now
        if left_s <= 0:
            raise loss.error
        if self._deaths >= MAX_DEATHS:
            raise WorkLost(
                f"The predictor '{loss.predictor}' died {self._deaths} times at this work.",
                "Look into its log; often its memory limit is too low for images of this size. "
                "Try again with a smaller volume, or with a higher limit.",
                predictors=[loss.predictor],
            )
        if self._taken >= _MAX_TAKEN:
            raise loss.error
        longest_s = min(_FIRST_S * 2.0 ** min(self._pauses, 16), _LAST_S)
        self._pauses += 1
        return min(longest_s * _chance.uniform(0.5, 1.0), left_s)


class Telling:
    """Events of several attempts as those of one: nothing steps back, nothing is said twice.

    Args:
        emit: receives them.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._fraction = 0.0
        self._artifacts: set[tuple[str, str]] = set()

    def __call__(self, event: Event) -> None:
        """Hand an event of the current attempt on."""
        if event.event == "artifact":
            key = event.stage, str((event.artifact or {}).get("manifest_path"))
            if key in self._artifacts:
                return
            self._artifacts.add(key)
        elif event.event == "progress":
            self._fraction = max(self._fraction, event.fraction or 0.0)
            event = event.model_copy(update={"fraction": self._fraction})
        self._emit(event)

    def wait(self, predictor: str) -> None:
        """Say what is waited for."""
        self(Event(event="progress", stage=f"waiting for {predictor}", fraction=self._fraction))


async def patiently(
    attempt: Callable[[], Awaitable[T]],
    patience: Patience,
    telling: Telling,
    figures: Figures,
    said: Mapping[str, Any],
) -> T:
    """Attempt something until it succeeds, fails for good, or patience ends.

    Args:
        attempt: raises `Loss` where another attempt may help.
        patience: of the request.
        telling: hears what is waited for.
        figures: counts.
        said: of the request, for the log.

    Raises:
        NephraError: of the attempt, or of the last loss.
    """
    before: str | None = None
    while True:
        try:
            return await attempt()
        except Loss as loss:
            found = loss
        if found.reason != before:  # waiting for minutes is one line, not hundreds
            logs.line("work lost", predictor=found.predictor, reason=found.reason, **dict(said))
        before = found.reason
        try:
            pause_s = patience.after(found)
        except NephraError as error:
            figures.lost.labels(found.predictor, found.reason).inc()
            raise error from found
        telling.wait(found.predictor)
        with figures.waiting.labels(found.predictor).track_inprogress():
            await asyncio.sleep(pause_s)
        figures.retries.labels(found.predictor, found.reason).inc()
