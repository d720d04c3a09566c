"""How a long step says how far it is, and learns that nobody waits for it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from nephra_contract.errors import Cancelled

Report = Callable[[float, str], None]
Artifact = Callable[[str, dict[str, object]], None]


def _ignore(fraction: float, stage: str) -> None:
    pass


def _keep_silent(kind: str, detail: dict[str, object]) -> None:
    pass


@dataclass(frozen=True)
class Progress:
    """Handed to every operation; `advance` is called often, and is where cancelling happens.

    Args:
        report: receives the fraction done (0..1, of the whole) and the name of the stage.
        stop: set by whoever waits for the work, when they no longer do.
        start, span: the part of the whole that this object stands for.
        artifact: receives results that are ready before the whole is.
    """

    report: Report = _ignore
    stop: threading.Event = field(default_factory=threading.Event)
    start: float = 0.0
    span: float = 1.0
    artifact: Artifact = _keep_silent

    def advance(self, fraction: float, stage: str = "") -> None:
        """Say that `fraction` (0..1) of this part is done.

        Raises:
            Cancelled: nobody waits any more; let it rise, leave nothing behind.
        """
        if self.stop.is_set():
            raise Cancelled("The work was cancelled.", "Send the request again to start anew.")
        self.report(self.start + self.span * min(max(fraction, 0.0), 1.0), stage)

    def part(self, start: float, stop: float) -> Progress:
        """The stretch of this progress from `start` to `stop` (0..1) as a progress of its own."""
        return Progress(
            self.report,
            self.stop,
            self.start + self.span * start,
            self.span * (stop - start),
            self.artifact,
        )
