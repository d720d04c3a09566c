"""What work costs: CPU seconds of all threads, and the peak of resident memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
#: Written to `clear_refs`, it forgets the peak of resident memory (man 5 proc).
_FORGET_PEAK = "5"


def cpu_seconds() -> float:
    """User and system seconds of this process, all its threads, and its finished children."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def peak_mib() -> float | None:
    """The largest resident memory of this process since its peak was forgotten, in MiB."""
    return read_mib(_STATUS, "VmHWM")


def resident_mib() -> float | None:
    """The resident memory of this process, in MiB; None where the system does not say."""
    return read_mib(_STATUS, "VmRSS")


def forget_peak() -> bool:
    """Begin to look for a peak anew; False where the system does not let us."""
    try:
        _CLEAR_REFS.write_text(_FORGET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def read_mib(status: Path, member: str) -> float | None:
    """A member of a process's status in MiB; None where there is none."""
    try:
        lines = status.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{member}:")]
    return int(found[0]) / 1024 if found else None


def describe_machine() -> dict[str, Any]:
    """Cores, processor, memory and operating system."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(pages * size / 2**30, 1),
        "system": platform.system() + " " + platform.release(),
        "python": platform.python_version(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed versions of those packages that are there."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
