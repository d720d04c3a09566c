"""How results come to lie in the data root: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nephra_contract.errors import RequestInvalid
from nephra_contract.paths import DataRoot

RESULTS = "results"


def new_ticket() -> str:
    """A fresh ticket number: 32 hexadecimal digits."""
    return uuid.uuid4().hex


@contextmanager
def result_folder(data: DataRoot, ticket: str, name: str) -> Iterator[tuple[Path, Path]]:
    """A folder in the making: yields (where to write now, where it will lie).

    On leaving, every file is fsynced and the folder renamed to `results/<ticket>/<name>`; if
    the block raises, all of it is removed, the ticket's folder too if nothing else is in it.
    """
    home = data.resolve(f"{RESULTS}/{ticket}")
    home.mkdir(parents=True, exist_ok=True)
    partial = home / f".{name}.{uuid.uuid4().hex[:8]}"
    partial.mkdir()
    try:
        yield partial, _claim(home, name)
        for path in partial.iterdir():
            _fsync(path)
        partial.rename(_claim(home, name))
        _fsync(home)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        try:
            home.rmdir()
        except OSError:
            pass  # other steps of the ticket have results there
        raise


def place(source: Path, data: DataRoot, output_path: str, protected: set[Path]) -> Path:
    """Put a copy of a finished file where the caller asked for it, atomically.

    Args:
        protected: files that must not be overwritten (the inputs).

    Raises:
        PathRefused: outside of the data root.
        RequestInvalid: another suffix than the result's, or one of the inputs.
    """
    target = check_output(source.name, data, output_path, protected)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{uuid.uuid4().hex[:8]}.{target.name}")
    try:
        shutil.copyfile(source, partial)
        _fsync(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def check_output(name: str, data: DataRoot, output_path: str, protected: set[Path]) -> Path:
    """Judge an `output_path` before any work is done; see `place`."""
    target = data.resolve(output_path)
    suffix = ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix
    if not target.name.endswith(suffix) or target.name == suffix:
        raise RequestInvalid(
            f"'output_path' must end in {suffix}.", f"Name it for example 'out/result{suffix}'."
        )
    if target in protected or target.is_dir():
        raise RequestInvalid(
            "'output_path' is an input of the request, or a directory.", "Choose another name."
        )
    return target


@lru_cache(maxsize=1)
def nephra_version() -> str:
    """The installed version, looked up once."""
    return version("nephra-contract")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document, atomically."""
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    partial.write_text(
        json.dumps(content, indent=2, sort_keys=False, default=_plain) + "\n", encoding="utf-8"
    )
    partial.replace(path)


def _plain(value: Any) -> Any:
    item: Callable[[], Any] | None = getattr(value, "tolist", None)
    if item is None:
        raise TypeError(f"{type(value).__name__} is not JSON")
    return item()


def _claim(home: Path, name: str) -> Path:
    """The first free one of name, name-2, name-3 and so on."""
    target, count = home / name, 1
    while target.exists():
        count += 1
        target = home / f"{name}-{count}"
    return target


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
