"""Files on their way to a gateway and back, in pieces that a broken connection does not undo."""

from __future__ import annotations

import base64
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx

from nephra_cli.transport import is_passing, not_nephra, problem_of, reachable
from nephra_contract.errors import Conflict, FileUnreadable, NephraError, PathRefused

#: What is lost at most when a connection breaks; small enough for the limits of most ingresses.
PIECE_BYTES = 8 << 20
_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.2
_OFFSET = "Upload-Offset"

T = TypeVar("T")


def upload(http: httpx.Client, url: str, source: Path, path: str) -> None:
    """Send a file into the data root; what is there already, whole or in part, is not sent again.

    Args:
        http: the connections.
        url: of the gateway, for sentences.
        source: the file.
        path: its name in the data root.

    Raises:
        FileUnreadable: the file cannot be read.
        NephraError: the gateway refuses it, or is away for too long.
    """
    try:
        digest, size = _digest(source)
        at = _again(partial(_offset, http, url, path, size))
        while at is not None:
            piece = _piece(source, at)
            at = _again(partial(_send, http, url, path, piece, at, size, digest))
    except OSError as error:
        raise FileUnreadable(
            f"The file {source} cannot be read: {error.strerror}.", "Mend its rights."
        ) from error


def download(http: httpx.Client, url: str, path: str, target: Path) -> Path:
    """Fetch a file of the data root; see `Client.download`."""
    part = target.with_name(f".{uuid.uuid4().hex[:8]}.{target.name}")
    tag: dict[str, str] = {}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        _again(partial(_fetch, http, url, path, part, tag))
        return part.replace(target)
    except OSError as error:
        raise PathRefused(
            f"The file cannot be written to {target.parent}: {error.strerror}.",
            "Choose another folder, or make room.",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _again(attempt: Callable[[], T]) -> T:
    """Try what a broken connection may have cut short."""
    pause_s = _FIRST_PAUSE_S
    for _ in range(_ATTEMPTS - 1):
        try:
            return attempt()
        except NephraError as error:
            if not is_passing(error):
                raise
        time.sleep(pause_s)
        pause_s *= 2
    return attempt()


def _offset(http: httpx.Client, url: str, path: str, size: int) -> int | None:
    """How much of a file the gateway has; None if all of it."""
    with reachable(url):
        response = http.head(_place(path))
    if _OFFSET in response.headers:
        offset = _number(response.headers[_OFFSET])
        return offset if offset < size else 0
    if response.status_code == httpx.codes.NOT_FOUND:
        return 0
    if response.is_error:
        raise problem_of(response)
    whole = response.headers.get("content-length") == str(size)
    return None if whole else 0


def _piece(source: Path, at: int) -> bytes:
    with source.open("rb") as stream:
        stream.seek(at)
        return stream.read(PIECE_BYTES)


def _send(
    http: httpx.Client, url: str, path: str, piece: bytes, at: int, size: int, digest: str
) -> int | None:
    """Send one piece; gives where the next one begins, None if there is none."""
    headers = {"Content-Type": "application/octet-stream", "Repr-Digest": digest}
    if len(piece) < size:
        headers["Content-Range"] = f"bytes {at}-{at + len(piece) - 1}/{size}"
    with reachable(url):
        response = http.put(_place(path), content=piece, headers=headers)
    if response.status_code == Conflict.status:
        # The answer to an earlier attempt was lost, not the piece.
        return _offset(http, url, path, size)
    if response.is_error:
        raise problem_of(response)
    following = at + len(piece)
    return following if following < size else None


def _fetch(http: httpx.Client, url: str, path: str, part: Path, tag: dict[str, str]) -> None:
    """Fetch what is not there yet; `tag` remembers of which file the beginning is."""
    have = part.stat().st_size
    headers = {"Accept-Encoding": "identity"}
    if have and tag:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag["etag"]}
    with reachable(url), http.stream("GET", _place(path), headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and tag:
            return  # all of it was there
        if response.is_error:
            response.read()
            raise problem_of(response)
        tag |= {k: v for k, v in response.headers.items() if k == "etag"}
        goes_on = response.status_code == httpx.codes.PARTIAL_CONTENT
        with part.open("ab" if goes_on else "wb") as stream:
            for chunk in response.iter_bytes():
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())


def _place(path: str) -> str:
    return f"/files/{quote(path)}"


def _number(text: str) -> int:
    if not text.isdecimal():
        raise not_nephra()
    return int(text)


def _digest(source: Path) -> tuple[str, int]:
    """A file's digest as RFC 9530 writes it, and its size in bytes."""
    found = hashlib.sha256()
    size = 0
    with source.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            found.update(chunk)
            size += len(chunk)
    return f"sha-256=:{base64.b64encode(found.digest()).decode()}:", size
