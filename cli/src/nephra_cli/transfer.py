"""Files on their way into the data root, and results on their way out."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nephra_contract.errors import PathRefused
from nephra_contract.paths import DataRoot

UPLOADS = "uploads"
_CHUNK_BYTES = 1 << 20


def bring_in(given: str, data: Path | None) -> str:
    """The name in the data root of a file that the user named; copied there if it lies outside.

    A file of this machine comes before one of the same name in the data root. The same file
    is copied once: its folder is named by its content. What is no file of this machine is
    left as it is; the gateway knows its own files.

    Args:
        given: a path of this machine, or one relative to the data root.
        data: the data root, None if it is not on this machine.

    Raises:
        PathRefused: a directory, or a file that cannot be read or copied.
    """
    path = Path(given).expanduser()
    if data is None or not path.exists():
        return given
    root = DataRoot(data)
    if Path(os.path.realpath(path)).is_relative_to(root.root):
        return root.name(path)
    if not path.is_file():
        raise PathRefused(f"'{given}' is not a regular file.", "Name one NIfTI file.")
    try:
        return root.name(_copy(path, root.root / UPLOADS))
    except OSError as error:
        raise PathRefused(
            f"'{given}' cannot be copied into the data root: {error.strerror}.",
            "Mend the rights, or make room, and try again.",
        ) from error


def _copy(path: Path, uploads: Path) -> Path:
    uploads.mkdir(parents=True, exist_ok=True)
    partial = uploads / f".{uuid.uuid4().hex}"
    digest = hashlib.sha256()
    try:
        with path.open("rb") as source, partial.open("wb") as copy:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
        target = uploads / digest.hexdigest()[:16] / _safe(path.name)
        target.parent.mkdir(exist_ok=True)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "file"


def bring_out(answer: Mapping[str, Any], data: Path | None, out: Path) -> dict[str, Path]:
    """Copy every file that an answer names into a folder.

    Args:
        answer: as the gateway gave it; paths stand in members that end in `_path`.
        data: the data root; must be on this machine.
        out: the folder; made if it is not there. Files of the same name are replaced.

    Returns:
        By path in the data root: where the copy lies. Names that occur twice get the name of
        their step before them.

    Raises:
        PathRefused: the data root is not here, or `out` cannot be written.
    """
    if data is None:
        raise PathRefused(
            "The results lie in a data root that is not on this machine.",
            "Give it with --data, or fetch them from there.",
        )
    root = DataRoot(data)
    brought: dict[str, Path] = {}
    taken: set[str] = set()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in paths_of(answer):
            if name in brought:
                continue
            source = root.file(name)
            plain = source.name
            if plain in taken:
                plain = f"{source.parent.name}-{plain}"
            taken.add(plain)
            brought[name] = out / plain
            shutil.copyfile(source, brought[name])
    except OSError as error:
        raise PathRefused(
            f"The results cannot be written to {out}: {error.strerror}.", "Choose another folder."
        ) from error
    return brought


def paths_of(answer: Any) -> Iterator[str]:
    """Every path that an answer names, outermost first."""
    if isinstance(answer, Mapping):
        inner = []
        for member, value in answer.items():
            if member.endswith(("_path", "_paths")):
                yield from _strings(value)
            else:
                inner.append(value)
        for value in inner:
            yield from paths_of(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from paths_of(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
