"""What each stage of a run costs: CPU seconds of the process, and its peak memory so far."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CLEAR_PEAK = "5"


@dataclass
class Stages:
    """Stages of one run in this process, in their order.

    Args:
        rows: per stage its name, wall and CPU seconds, and peak memory in MiB within it.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done inside. Stages of one name are added up."""
        _forget_peak()
        wall, cpu = time.perf_counter(), cpu_seconds()
        try:
            yield
        finally:
            row = {
                "stage": name,
                "wall_s": time.perf_counter() - wall,
                "cpu_s": cpu_seconds() - cpu,
                "peak_mib": peak_mib(),
            }
            self.rows.append(row)


def cpu_seconds() -> float:
    """User and system seconds of this process, all its threads, and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_mib() -> float:
    """The largest resident memory of this process since `_forget_peak`, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(row for row in status.splitlines() if row.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK, encoding="ascii")
