"""Files on their way into the data root, and results on their way out."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from nephra_cli.client import Client
from nephra_contract.errors import FileUnreadable, PathRefused
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


def send_in(given: str, client: Client) -> str:
    """The name in the data root of a file that the user named; sent there if it is one of ours.

    For a gateway whose data root is not on this machine. Otherwise as `bring_in`.

    Raises:
        NephraError: a directory, a file that cannot be read, or that the gateway refuses.
    """
    path = Path(given).expanduser()
    if not path.exists():
        return given
    if not path.is_file():
        raise PathRefused(f"'{given}' is not a regular file.", "Name one NIfTI file.")
    try:
        with path.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise FileUnreadable(
            f"'{given}' cannot be read: {error.strerror}.", "Mend its rights."
        ) from error
    name = f"{UPLOADS}/{digest[:16]}/{_safe(path.name)}"
    client.upload(path, name)
    return name


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


def files_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """The files that an answer names, and what they are called outside.

    The answer's own keep their names; the mask of a step bears the step's. A preview is left
    out: it was for the waiting.

    Returns:
        path in the data root → file name.
    """
    files = {
        path: PurePosixPath(path).name
        for member, path in answer.items()
        if member.endswith("_path") and isinstance(path, str)
    }
    for step, path in (answer.get("mask_paths") or {}).items():
        files.setdefault(path, f"{step}.nii.gz")
    for part, inner in (answer.get("parts") or {}).items():
        for path, name in files_of(inner).items():
            files.setdefault(path, f"{part}-{name}")
    return files


def bring_out(files: Mapping[str, str], data: Path | None, out: Path) -> list[Path]:
    """Copy results into a folder.

    Args:
        files: path in the data root → file name.
        data: the data root; must be on this machine.
        out: the folder; made if it is not there. Files of the same name are replaced.

    Returns:
        The copies.

    Raises:
        PathRefused: the data root is not here, or `out` cannot be written.
    """
    if data is None:
        raise PathRefused(
            "The results lie in a data root that is not on this machine.",
            "Give it with --data, or fetch them from there.",
        )
    root = DataRoot(data)
    brought = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, name in files.items():
            partial = out / f".{uuid.uuid4().hex[:8]}.{name}"
            try:
                shutil.copyfile(root.file(path), partial)
                brought.append(partial.replace(out / name))
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise PathRefused(
            f"The results cannot be written to {out}: {error.strerror}.", "Choose another folder."
        ) from error
    return brought


def fetch_out(files: Mapping[str, str], client: Client, out: Path) -> list[Path]:
    """Fetch results into a folder; as `bring_out`, from a data root that is elsewhere.

    Raises:
        NephraError: one cannot be had, or `out` cannot be written.
    """
    return [client.download(path, out / name) for path, name in files.items()]
