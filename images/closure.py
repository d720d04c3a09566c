"""Which packages one service consists of: ours from the workspace, all others from the lock.

Run as `python -m images.closure requirements NAME[EXTRA]...` it prints the libraries that these
packages of ours ask for, each with its version and hashes as in requirements.lock; with `folders`
instead, the folders of our own packages, those that others depend on first. Needs only Python.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_NAME = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?")


def parse(requirement: str) -> tuple[str, frozenset[str]]:
    """`Name[extra,other]>=1; marker` → (`name`, its extras)."""
    found = _NAME.match(requirement)
    if found is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    name = re.sub(r"[-_.]+", "-", found[1]).lower()
    extras = (e.strip().lower() for e in (found[2] or "").split(","))
    return name, frozenset(e for e in extras if e)


class Workspace:
    """Our packages and what each asks for.

    Args:
        root: the folder that holds the lock and the packages.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._projects: dict[str, tuple[str, dict[str, Any]]] = {}
        for path in sorted(
            (*root.glob("*/pyproject.toml"), *root.glob("servers/*/pyproject.toml"))
        ):
            project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
            folder = path.parent.relative_to(root).as_posix()
            self._projects[parse(project["name"])[0]] = (folder, project)

    def folders(self, wanted: Iterable[str]) -> list[str]:
        """The folders of `wanted` and of all of ours they need, the needed ones first."""
        return [self._projects[name][0] for name in self._closure(wanted)]

    def libraries(self, wanted: Iterable[str]) -> dict[str, frozenset[str]]:
        """What `wanted` and all of ours they need ask of others: name → extras."""
        found: dict[str, frozenset[str]] = {}
        for name, extras in self._closure(wanted).items():
            for requirement in self._requirements(name, extras):
                library, its_extras = parse(requirement)
                if library not in self._projects:
                    found[library] = found.get(library, frozenset()) | its_extras
        return dict(sorted(found.items()))

    def requirements(self, wanted: Iterable[str]) -> str:
        """The lock's lines about `libraries`, with hashes.

        Raises:
            ValueError: a library is not in the lock.
        """
        lock = dict(_blocks((self._root / "requirements.lock").read_text(encoding="utf-8")))
        text = []
        for name, extras in self.libraries(wanted).items():
            if name not in lock:
                raise ValueError(f"{name} is not in requirements.lock; run: make lock")
            listed = f"[{','.join(sorted(extras))}]" if extras else ""
            text += [re.sub(r"(?:\[.*?\])?==", f"{listed}==", b, count=1) for b in lock[name]]
        return "".join(text)

    def _closure(self, wanted: Iterable[str]) -> dict[str, frozenset[str]]:
        done: dict[str, frozenset[str]] = {}

        def visit(requirement: str) -> None:
            name, extras = parse(requirement)
            if name not in self._projects or (name in done and extras <= done[name]):
                return
            asked = done.get(name, frozenset()) | extras
            for inner in self._requirements(name, asked):
                visit(inner)
            done[name] = asked

        for requirement in wanted:
            if parse(requirement)[0] not in self._projects:
                raise ValueError(f"{requirement} is not a package of this workspace")
            visit(requirement)
        return done

    def _requirements(self, name: str, extras: Iterable[str]) -> Iterator[str]:
        project = self._projects[name][1]
        yield from project.get("dependencies", [])
        for extra in sorted(extras):
            try:
                yield from project.get("optional-dependencies", {})[extra]
            except KeyError:
                raise ValueError(f"{name} has no extra {extra!r}") from None


def _blocks(lock: str) -> Iterator[tuple[str, list[str]]]:
    """(name, its entries); a name has several where versions differ by Python or platform."""
    entries: dict[str, list[str]] = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE):
        if "==" in entry:
            entries.setdefault(parse(entry)[0], []).append(entry.rstrip("\n") + "\n")
    yield from entries.items()


def main(what: str, *wanted: str) -> int:
    """Print what is asked for."""
    workspace = Workspace()
    if what == "requirements":
        sys.stdout.write(workspace.requirements(wanted))
    elif what == "folders":
        sys.stdout.write("".join(f"{f}\n" for f in workspace.folders(wanted)))
    else:
        raise SystemExit(f"unknown: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
