"""Where a benchmark ran, and with what."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from nephra_nnunet.machine import total_bytes

_PACKAGES = ("numpy", "scipy", "openvino", "numba", "torch", "nnunetv2", "SimpleITK")
_ASK = """
import importlib.metadata as m, json, sys
def v(n):
    try: return m.version(n)
    except m.PackageNotFoundError: return None
print(json.dumps({n: v(n) for n in sys.argv[1:]}))
"""


def describe_machine() -> dict[str, Any]:
    """Cores, processor, memory and operating system."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(total_bytes() / 2**30, 1),
        "system": platform.system() + " " + platform.release(),
        "python": platform.python_version(),
    }


def own_versions() -> dict[str, str]:
    """Versions of what nephra runs with."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def versions_of(python: Path) -> dict[str, str]:
    """Versions of what another interpreter would run with; empty if it does not run."""
    try:
        asked = subprocess.run(  # noqa: S603 - an interpreter that the user named, no shell
            [str(python), "-c", _ASK, *_PACKAGES], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {name: said for name, said in json.loads(asked.stdout).items() if said}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
