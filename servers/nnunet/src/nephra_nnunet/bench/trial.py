"""One run in a process of its own, and what it cost as the kernel counts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nephra_contract.errors import Unavailable
from nephra_serving.cost import read_mib

Outcome = Literal["done", "killed"]

#: What a request to a server costs that has imported and loaded before.
REQUEST_STAGES = ("read", "prepare", "network", "labels")
_LOOK_S = 0.1
#: The kernel that runs out of memory takes this process before all others (man 5 proc).
_TAKE_FIRST = "1000"
_LAST_LINES = 5


@dataclass(frozen=True)
class Trial:
    """What one run cost.

    Args:
        outcome: `killed` by the kernel, for want of memory; its figures are those until then.
        wall_s, cpu_s: of the whole process, start and end of the interpreter included.
        peak_mib: the largest resident memory.
        stages: as `Stages.named` gives them.
        running: the stage that began last.
        estimate_mib: what it said beforehand of its peak; None if it said nothing.
    """

    outcome: Outcome
    wall_s: float
    cpu_s: float
    peak_mib: float
    stages: Sequence[Mapping[str, Any]] = field(default_factory=list)
    running: str = ""
    estimate_mib: float | None = None

    @property
    def request_cpu_s(self) -> float:
        """CPU seconds without importing and loading: of a request to a server that is ready."""
        request = sum(s["cpu_s"] for s in self.stages if s["name"] in REQUEST_STAGES)
        if self.outcome == "killed":
            # The stage in which it ended has no figures of its own.
            request = self.cpu_s - sum(s["cpu_s"] for s in self.stages) + request
        return float(request)


def run(command: Sequence[str], report: Path, environment: Mapping[str, str]) -> Trial:
    """Run a command that writes its stages to `report`.

    Args:
        command: what to run, without a shell.
        report: removed first, read afterwards.
        environment: added to that of this process.

    Raises:
        Unavailable: it ended by an error of its own.
    """
    report.unlink(missing_ok=True)
    errors = report.with_suffix(".err")
    started = time.perf_counter()
    with errors.open("wb") as stream:
        child = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, **environment},
        )
    try:
        seen_mib, status, usage = _wait(child.pid)
    except BaseException:
        child.kill()
        child.wait()
        raise
    wall_s = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    child.returncode = code
    said = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    if code not in (0, -signal.SIGKILL):
        lines = errors.read_text(encoding="utf-8", errors="replace").splitlines()
        raise Unavailable(
            f"A run of the benchmark ended with {code}: {' | '.join(lines[-_LAST_LINES:])}",
            "Look at the last lines that it said.",
        )
    return Trial(
        outcome="done" if code == 0 else "killed",
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        # What the kernel says of ended children starts with the size of their parent.
        peak_mib=max(said.get("peak_mib") or 0.0, seen_mib),
        stages=said.get("stages", []),
        running=said.get("running", ""),
        estimate_mib=said.get("estimate_mib"),
    )


def _wait(pid: int) -> tuple[float, int, Any]:
    """Wait for a child; gives the largest memory that was seen, its status and its usage."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(_TAKE_FIRST, encoding="ascii")
    except OSError:
        pass  # it has ended already, or this system has no such thing
    seen_mib = 0.0
    while True:
        seen_mib = max(seen_mib, read_mib(Path(f"/proc/{pid}/status"), "VmRSS") or 0.0)
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            return seen_mib, status, usage
        time.sleep(_LOOK_S)
