"""What code a result was made by, so that a changed step is not answered from memory."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path


@lru_cache(maxsize=8)
def digest_of(*packages: str) -> str:
    """SHA-256, in hexadecimal, of the sources of some packages and the versions of their parts.

    Args:
        packages: names of installed top-level packages, for example `nephra_postprocess`. What
            they need, as their distributions name it, counts by its installed version.
    """
    found = hashlib.sha256()
    for package in packages:
        for path in _sources(package):
            found.update(f"{path.name}\n".encode())
            found.update(path.read_bytes())
        for line in _needs(package):
            found.update(line.encode())
    return found.hexdigest()


def _sources(package: str) -> list[Path]:
    """The modules of a package, or the one file of a module that is none."""
    try:
        spec = find_spec(package)
    except ValueError:
        return []  # a program's own `__main__`
    if spec is None:
        return []
    folders = spec.submodule_search_locations
    if folders is None:
        return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
    return sorted(path for folder in folders for path in Path(folder).rglob("*.py"))


def _needs(package: str) -> list[str]:
    """`name version` of each distribution that is needed and installed."""
    try:
        needed = distribution(package.replace("_", "-")).requires or []
    except PackageNotFoundError:
        return []
    lines = []
    for requirement in needed:
        name = _name_of(requirement)
        try:
            lines.append(f"{name} {distribution(name).version}\n")
        except PackageNotFoundError:
            continue  # an extra that is not installed
    return sorted(lines)


def _name_of(requirement: str) -> str:
    """The distribution that a requirement such as `numpy>=1.26; extra == 'x'` names."""
    for at, letter in enumerate(requirement):
        if not (letter.isalnum() or letter in "-_."):
            return requirement[:at]
    return requirement
