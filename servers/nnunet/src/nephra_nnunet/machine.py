"""What the machine and the container say of memory."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_CGROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def limit_bytes() -> int:
    """What this process may take: its control group's limit, or the machine's memory."""
    found = [total_bytes()]
    for path in _CGROUPS:
        try:
            said = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if said.isdigit():
            found.append(int(said))
    return min(found)


def available_bytes() -> int:
    """What the machine could give a process now without taking it from another."""
    try:
        rows = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return total_bytes()
    found = next((row for row in rows if row.startswith("MemAvailable:")), None)
    return int(found.split()[1]) * 1024 if found else total_bytes()


def resident_bytes() -> int:
    """What this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        # Without /proc the peak stands for it: the estimate gets too careful, not too bold.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE")


def total_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
