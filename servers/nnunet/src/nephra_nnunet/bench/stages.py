"""What each stage of a run costs: wall and CPU seconds, and the peak of memory within it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nephra_serving.cost import cpu_seconds, forget_peak, peak_mib


@dataclass
class Stage:
    """One stage of a run.

    Args:
        name: what is done.
        wall_s, cpu_s: seconds, of all its turns together.
        peak_mib: the largest resident memory within it; None where the system does not say.
    """

    name: str
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mib: float | None = None


@dataclass
class Stages:
    """The stages of one run of this process, in the order of their first turn.

    Args:
        report: a JSON file that is written whenever a stage begins for the first time, so that
            a process that is killed leaves what it had done; None for none.
        found: the stages so far.
        running: the last one that began.
        estimate_mib: what the process said beforehand that its peak would be; None if it did not.
    """

    report: Path | None = None
    found: dict[str, Stage] = field(default_factory=dict)
    running: str = ""
    estimate_mib: float | None = None
    _highest_mib: float = 0.0
    _open: bool = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done inside.

        Turns of one name are added up; a stage within another counts to the outer one.
        """
        if self._open:
            yield
            return
        self.running, self._open = name, True
        if name not in self.found:
            self.write()
        exact = self._forget_peak()
        wall, cpu = time.perf_counter(), cpu_seconds()
        try:
            yield
        finally:
            self._open = False
            stage = self.found.setdefault(name, Stage(name))
            stage.wall_s += time.perf_counter() - wall
            stage.cpu_s += cpu_seconds() - cpu
            peak = peak_mib()
            if exact and peak is not None:
                stage.peak_mib = max(peak, stage.peak_mib or 0.0)

    def write(self) -> None:
        """Write the report."""
        if self.report is not None:
            self.report.write_text(json.dumps(self.named()), encoding="utf-8")

    def named(self) -> dict[str, object]:
        """The report: the stages, the last that began, and the process's peak until now."""
        peak = peak_mib()
        return {
            "stages": [asdict(s) for s in self.found.values()],
            "running": self.running,
            "estimate_mib": self.estimate_mib,
            "peak_mib": None if peak is None else max(peak, self._highest_mib),
        }

    def _forget_peak(self) -> bool:
        """Begin to look for a peak anew; False where the system does not let us."""
        # The peak of the whole process would be forgotten too.
        self._highest_mib = max(self._highest_mib, peak_mib() or 0.0)
        return forget_peak()
