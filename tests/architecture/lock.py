"""Write requirements.lock, or say that it is out of date.

Run as `python tests/architecture/lock.py UV LOCK [--write]`. The lock is one universal,
hash-pinned list for all packages and extras (docs/decisions/0001.md says why it is this format).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECTS = (
    "pyproject.toml", "contract", "serving", "servers/nnunet", "servers/smoothing",
    "servers/postprocess", "gateway", "cli", "phantom",
)  # fmt: skip
OURS = (
    "nephra-contract", "nephra-serving", "nephra-nnunet", "nephra-smoothing",
    "nephra-postprocess", "nephra-gateway", "nephra-cli", "nephra-phantom",
)  # fmt: skip


def compile_lock(uv: str, output: Path) -> None:
    """Resolve all projects and extras; versions already in `output` are kept."""
    projects = [p if p.endswith(".toml") else f"{p}/pyproject.toml" for p in PROJECTS]
    own = [flag for name in OURS for flag in ("--no-emit-package", name)]
    subprocess.run(
        [uv, "pip", "compile", *projects, "--all-extras", "--universal", "--python-version",
         "3.11", "--generate-hashes", "--no-header", "--no-annotate", "--quiet", *own,
         "--output-file", str(output)],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def main(uv: str, lock: str, *flags: str) -> int:
    """0 when the lock is what the projects ask for (or was written), 1 when it is not."""
    if "--write" in flags:
        compile_lock(uv, Path(lock))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "requirements.lock"
        shutil.copyfile(lock, fresh)
        compile_lock(uv, fresh)
        if fresh.read_text() == Path(lock).read_text():
            return 0
    sys.stderr.write(f"{lock} does not match the pyproject files; run: make lock\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
