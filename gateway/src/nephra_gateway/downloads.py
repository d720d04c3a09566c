"""Files on their way out: read from disk as fast as the caller takes them, in constant memory."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nephra_gateway.fields import Conditions, range_of
from nephra_gateway.problems import PreconditionFailed, RangeMissing
from nephra_gateway.tree import Found
from nephra_gateway.uploads import Uploads

_BLOCK_BYTES = 2**18

#: Anything else might be shown by a browser as if it were a page of ours.
_KINDS = {
    ".glb": "model/gltf-binary",
    ".json": "application/json",
    ".mtl": "model/mtl",
    ".obj": "model/obj",
}

Done = Callable[[int | str, int], None]


class Download(Response):
    """An open file, or a range of it.

    Args:
        uploads: whose threads read.
        handle: the file's descriptor; closed at the end, however it comes.
        span: the bytes that are sent: start, and stop (not included).
        done: told the outcome, and how many bytes have gone.
    """

    def __init__(
        self, uploads: Uploads, handle: int, span: tuple[int, int], status: int, done: Done
    ) -> None:
        super().__init__(None, status)
        self._uploads, self._handle, self._span, self._done = uploads, handle, span, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as long as somebody is there."""
        gone = asyncio.ensure_future(_gone(receive))
        outcome: int | str = "hung_up"
        sent, (at, stop) = 0, self._span
        try:
            start = {"type": "http.response.start", "status": self.status_code}
            await send({**start, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                stop = at
            while at < stop and not gone.done():
                count = min(_BLOCK_BYTES, stop - at)
                block = await self._uploads.blocking(partial(os.pread, self._handle, count, at))
                if not block:
                    break  # shortened meanwhile: the caller sees that bytes are missing
                await send({"type": "http.response.body", "body": block, "more_body": True})
                at, sent = at + len(block), sent + len(block)
            if at == stop:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                outcome = self.status_code
        finally:
            gone.cancel()
            os.close(self._handle)
            self._done(outcome, sent)


async def answer(
    uploads: Uploads, name: str, handle: int, found: Found, headers: Headers, done: Done
) -> Download:
    """What a request for an open file is answered.

    Args:
        uploads: whose threads read.
        name: of the file.
        handle: its descriptor; closed if this raises.
        found: what it is.
        headers: of the request.
        done: see `Download`.

    Raises:
        PreconditionFailed: it is not as the request wants it.
        RangeMissing: it ends before the range.
    """
    try:
        status, span = _judge(found, headers)
        told = _headers(name, found)
        if "sha-256" in headers.get("want-repr-digest", ""):
            digest = await uploads.blocking(lambda: _digest(handle, found.size))
            told["Repr-Digest"] = f"sha-256=:{digest}:"
    except BaseException:
        os.close(handle)
        raise
    if status == HTTPStatus.PARTIAL_CONTENT:
        told["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{found.size}"
    if status != HTTPStatus.NOT_MODIFIED:
        told["Content-Length"] = str(span[1] - span[0])
    made = Download(uploads, handle, span, status, done)
    made.headers.update(told)
    return made


def _judge(found: Found, headers: Headers) -> tuple[int, tuple[int, int]]:
    """The status, and the bytes to be sent."""
    conditions = Conditions.of(headers)
    if not conditions.matched(found.tag):
        raise PreconditionFailed("The file has changed.", "Fetch it anew.")
    if not conditions.unmatched(found.tag):
        return HTTPStatus.NOT_MODIFIED, (0, 0)
    span = range_of(headers, found.size, found.tag, _date(found))
    if span is None:
        return HTTPStatus.OK, (0, found.size)
    if span[0] >= span[1]:
        raise RangeMissing(
            f"The file has {found.size} bytes, and the range begins behind them.",
            "Ask for a range that begins before the end.",
            size=found.size,
        )
    return HTTPStatus.PARTIAL_CONTENT, span


def _headers(name: str, found: Found) -> dict[str, str]:
    path = PurePosixPath(name)
    return {
        "Accept-Ranges": "bytes",
        # Kept by who asked, and asked for again: the tag says whether it is still the same.
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.name, safe='')}",
        "Content-Type": _KINDS.get(path.suffix.lower(), "application/octet-stream"),
        "ETag": found.tag,
        "Last-Modified": _date(found),
    }


def _date(found: Found) -> str:
    return formatdate(found.modified_s, usegmt=True)


def _digest(handle: int, size: int) -> str:
    hashed = hashlib.sha256()
    for at in range(0, size, _BLOCK_BYTES):
        hashed.update(os.pread(handle, _BLOCK_BYTES, at))
    return base64.b64encode(hashed.digest()).decode()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
