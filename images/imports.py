"""Which modules of other libraries our packages import, inside functions too.

Run as `python -m images.imports FOLDER`: one module a line, sorted. The list is what trimming
goes by, and it changes seldom: the layers made from it stay as they are when our code changes.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path


def imported(folder: Path) -> list[str]:
    """All modules that may be meant by an import in a Python file below `folder`.

    `from a import b` names both `a` and `a.b`, since `b` may be a module.
    """
    ours = {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}
    found = {name for path in folder.rglob("*.py") for name in _names(path)}
    return sorted(n for n in found if n.split(".")[0] not in ours | set(sys.stdlib_module_names))


def _names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*")


if __name__ == "__main__":
    sys.stdout.write("".join(f"{name}\n" for name in imported(Path(sys.argv[1]))))
