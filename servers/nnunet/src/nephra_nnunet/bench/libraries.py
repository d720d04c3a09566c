"""What a benchmark ran with."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from nephra_serving.cost import versions

_PACKAGES = ("numpy", "scipy", "openvino", "numba", "torch", "nnunetv2", "SimpleITK")
_ASK = """
import importlib.metadata as m, json, sys
def v(n):
    try: return m.version(n)
    except m.PackageNotFoundError: return None
print(json.dumps({n: v(n) for n in sys.argv[1:]}))
"""


def own_versions() -> dict[str, str]:
    """Versions of what nephra runs with."""
    return versions(_PACKAGES)


def versions_of(python: Path) -> dict[str, str]:
    """Versions of what another interpreter would run with; empty if it does not run."""
    try:
        asked = subprocess.run(  # noqa: S603 - an interpreter that the user named, no shell
            [str(python), "-c", _ASK, *_PACKAGES], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {name: said for name, said in json.loads(asked.stdout).items() if said}
