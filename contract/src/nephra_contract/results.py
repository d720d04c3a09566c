"""How results come to lie in the data root: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nephra_contract.errors import Cancelled, Conflict, RequestInvalid
from nephra_contract.fences import RESULTS, Fence, check_open
from nephra_contract.paths import DataRoot


def new_ticket() -> str:
    """A fresh ticket number: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def remove_results(data: DataRoot, ticket: str, manifest_paths: Iterable[str]) -> None:
    """Remove the folders of some manifests; the ticket's too if nothing else is in it."""
    for path in manifest_paths:
        shutil.rmtree(data.resolve(path).parent)
    _remove_if_empty(data.resolve(f"{RESULTS}/{ticket}"))


@contextmanager
def result_folder(
    data: DataRoot, ticket: str, name: str, fence: Fence | None = None
) -> Iterator[tuple[Path, Path]]:
    """A folder in the making: yields (where to write now, where it will lie).

    On leaving, every file is fsynced and the folder renamed to its place; if the block raises,
    all of it is removed.

    Without a fence it comes to lie at `results/<ticket>/<name>`, with a number behind the name
    where that is taken, and the ticket's folder is made, and removed if nothing is in it.

    With one it is written inside of what `open_ticket` has made for the attempt, and comes to
    lie at `results/<ticket>/<name>-<step>`. Whoever finds there what is made of the same inputs
    with the same parameters takes that for its own: of several attempts the first whole one wins.

    Raises:
        Cancelled: the ticket was closed in the meantime, or another attempt has begun.
        Conflict: a result of something else lies there.
    """
    home = data.resolve(f"{RESULTS}/{ticket}")
    if fence is None:
        with _numbered(home, name) as folders:
            yield folders
        return
    final = home / folder_of(name, fence.step)
    partial = fence.workshop(home) / f"{final.name}.{uuid.uuid4().hex[:8]}"
    try:
        partial.mkdir()
        yield partial, final
        _fsync_all(partial)
        _publish_once(partial, final)
        _fsync(home)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        # Whatever a library says of a folder that was taken away from under it.
        try:
            check_open(data, ticket, fence)
        except Cancelled as closed:
            raise closed from error
        raise
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def folder_of(name: str, step: str) -> str:
    """What the folder of a step's result is called: of its operation, with dashes."""
    return f"{name}-{step}" if step else name


@contextmanager
def _numbered(home: Path, name: str) -> Iterator[tuple[Path, Path]]:
    home.mkdir(parents=True, exist_ok=True)
    partial = home / f".{name}.{uuid.uuid4().hex[:8]}"
    partial.mkdir()
    try:
        yield partial, _claim(home, name)
        _fsync_all(partial)
        partial.rename(_claim(home, name))
        _fsync(home)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        _remove_if_empty(home)
        raise


def place(
    source: Path,
    data: DataRoot,
    output_path: str,
    protected: set[Path],
    workshop: Path | None = None,
) -> Path:
    """Put a copy of a finished file where the caller asked for it, atomically.

    Args:
        protected: files that must not be overwritten (the inputs).
        workshop: where the copy is made, so that it cannot be placed once that is gone; without,
            beside its place.

    Raises:
        PathRefused: outside of the data root.
        RequestInvalid: another suffix than the result's, or one of the inputs.
        OSError: it cannot be written, or the workshop is gone.
    """
    target = check_output(source.name, data, output_path, protected)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = (workshop or target.parent) / f".{uuid.uuid4().hex[:8]}.{target.name}"
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


def _publish_once(partial: Path, final: Path) -> None:
    """Rename, unless the same is there already; the other attempt was just as good."""
    try:
        partial.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        if _identity(partial) != _identity(final):
            raise Conflict(
                "The ticket has another result of this operation already.",
                "Give each piece of work a ticket of its own, or a 'step'.",
                code="step_taken",
            ) from None
        shutil.rmtree(partial)


def _identity(folder: Path) -> tuple[Any, ...]:
    """What a result was asked to be, whoever has made it: a newer version may try again."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    inputs = {n: [f["path"] for f in files] for n, files in manifest.get("inputs", {}).items()}
    outputs = {n: made["path"] for n, made in manifest.get("outputs", {}).items()}
    return manifest["operation"], inputs, manifest.get("parameters"), outputs


def _remove_if_empty(home: Path) -> None:
    try:
        home.rmdir()
    except OSError:
        pass  # nothing was written, or other steps of the ticket have results there


def _fsync_all(folder: Path) -> None:
    for path in folder.iterdir():
        _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
