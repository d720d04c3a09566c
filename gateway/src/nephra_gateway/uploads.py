"""Uploads: streamed to disk in constant memory, checked, and then put in their place at once."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from nephra_contract import logs
from nephra_contract.errors import NephraError, RequestInvalid, full_disk, no_space
from nephra_gateway.fields import Conditions, Digest, Span
from nephra_gateway.problems import BodyTooLarge, DigestWrong, PreconditionFailed
from nephra_gateway.staged import Staged
from nephra_gateway.staging import Staging, key_of
from nephra_gateway.storage import unusable
from nephra_gateway.tree import Found, Tree

T = TypeVar("T")

_THREADS = 8

#: What nobody goes on with is looked for so often.
_SWEEP_S = 3600.0


@dataclass(frozen=True)
class Upload:
    """What a request wants to put somewhere.

    Args:
        name: where, as the request has it.
        owner: who.
        length: of the body, if it was said.
        span: which part of the whole the body is; None: the whole.
        digests: of the body, and of the whole.
        conditions: what has to be there.
    """

    name: str
    owner: str
    length: int | None = None
    span: Span | None = None
    content: Digest | None = None
    whole: Digest | None = None
    conditions: Conditions = field(default_factory=Conditions)


@dataclass(frozen=True)
class Stored:
    """What became of an upload.

    Args:
        path: its name.
        size: how many bytes are there.
        found: the file; None: more parts have to come.
        sha256: of the whole, in hexadecimal.
        created: whether nothing was there before.
    """

    path: str
    size: int
    found: Found | None = None
    sha256: str | None = None
    created: bool = False


class Uploads:
    """Receives files.

    Args:
        tree: the data root.
        max_bytes: the largest file.
    """

    def __init__(self, tree: Tree, max_bytes: int) -> None:
        self.tree = tree
        self.staging = Staging(tree.data)
        self._max_bytes = max_bytes
        # Its own: a disk that hangs, hangs uploads alone.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")

    async def put(self, upload: Upload, body: AsyncIterator[bytes]) -> Stored:
        """Receive a file, or a part of one.

        Args:
            body: in blocks of about a MiB; raises where the caller hangs up.

        Raises:
            NephraError: it is not wanted, not what it should be, or there is no room for it.
        """
        parts = await self.blocking(lambda: self._expect(upload))
        staged = await self.blocking(lambda: self._stage(upload, parts), undo=_close)
        try:
            await self._receive(upload, staged, body)
            return await self.blocking(lambda: self._finish(upload, staged, parts))
        except BaseException as error:
            await self.blocking(partial(_give_up, upload, staged, error))
            raise
        finally:
            staged.close()

    def offset(self, name: str, owner: str) -> tuple[int, int] | None:
        """How many bytes of how many of an upload have come; None: it was not begun.

        Raises:
            PathRefused: it is no path.
        """
        return self.staging.offset(key_of(owner, self.tree.parts(name)))

    def remove(self, name: str, owner: str, conditions: Conditions) -> None:
        """Remove a file, and what of an upload there has come.

        Raises:
            NephraError: it is not there, not as it should be, or must stay.
        """
        parts = self.tree.parts(name, change=True)
        with self.staging.alone(parts):
            found = self._judge(conditions, parts)
            abandoned = self.staging.abandon(key_of(owner, parts))
            if found is None and abandoned:
                return
            self.tree.remove(parts)

    async def sweep(self) -> None:
        """Remove what nobody goes on with, now and then, until cancelled."""
        while True:
            try:
                count = await self.blocking(self.staging.sweep)
                if count:
                    logs.line("abandoned uploads removed", count=count)
            except NephraError:
                pass  # said in the log; it may be back the next time
            await asyncio.sleep(_SWEEP_S)

    async def blocking(self, work: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        """Do something with the disk in a thread; whoever is cancelled waits for its end.

        Args:
            work: to be done.
            undo: what becomes of its result where nobody waits for it any more.

        Raises:
            NephraError: as `work`, or what the disk said.
        """
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._threads, lambda: _translated(work))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            # A descriptor that were closed now might be another file's when the thread writes.
            await _settled(done)
            if undo is not None and done.exception() is None:
                undo(done.result())
            raise

    def _expect(self, upload: Upload) -> tuple[str, ...]:
        """Judge an upload before its body is read."""
        parts = self.tree.parts(upload.name, change=True)
        self._judge(upload.conditions, parts)
        size = upload.span.total if upload.span else upload.length
        if size is not None and size > self._max_bytes:
            raise _too_large(self._max_bytes)
        coming = upload.span.stop - upload.span.start if upload.span else None
        if coming is not None and upload.length not in (None, coming):
            raise _unlike(coming)
        missing = size - upload.span.start if size and upload.span else size
        if missing is not None and missing > self.staging.free_bytes():
            raise no_space()
        return parts

    def _judge(self, conditions: Conditions, parts: tuple[str, ...]) -> Found | None:
        """What is there now, if that is as the request wants it."""
        found = self.tree.find(parts)
        tag = found.tag if found else None
        if not conditions.matched(tag) or not conditions.unmatched(tag):
            raise PreconditionFailed(
                "What is there is not what the request asks for.",
                "Look at the file's ETag, and decide again.",
            )
        return found

    def _stage(self, upload: Upload, parts: tuple[str, ...]) -> Staged:
        if upload.span is None:
            staged = self.staging.begin()
        else:
            staged = self.staging.resume(key_of(upload.owner, parts), upload.span)
        asked = {digest.algorithm for digest in (upload.content, upload.whole) if digest}
        staged.expect({"sha-256", *asked})
        return staged

    async def _receive(self, upload: Upload, staged: Staged, body: AsyncIterator[bytes]) -> None:
        span = upload.span
        coming = span.stop - span.start if span else None
        async for block in body:
            received = staged.received + len(block)
            if coming is not None and received > coming:
                raise _unlike(coming)
            if coming is None and received > self._max_bytes:
                raise _too_large(self._max_bytes)
            await self.blocking(partial(staged.write, block))
        if coming is not None and staged.received != coming:
            raise _unlike(coming)

    def _finish(self, upload: Upload, staged: Staged, parts: tuple[str, ...]) -> Stored:
        """Check what has come; publish it if nothing is missing."""
        name = "/".join(parts)
        _compare(upload.content, staged.digest)
        staged.settle()
        if upload.span and not upload.span.last:
            return Stored(name, staged.size)
        try:
            _compare(upload.whole, staged.whole_digest)
        except DigestWrong:
            staged.drop()
            raise
        sha256 = staged.whole_digest("sha-256").hex()
        with self.staging.alone(parts):
            before = self._judge(upload.conditions, parts)
            self.staging.publish(staged, self.tree, parts)
            return Stored(name, staged.size, self.tree.find(parts), sha256, before is None)


def _give_up(upload: Upload, staged: Staged, error: BaseException) -> None:
    """A whole goes; of a part that was cut off what came stays, a wrong one goes."""
    if staged.published:
        return
    if upload.span is None:
        staged.drop()
    elif isinstance(error, NephraError) and error.status not in (408, 499):
        staged.rewind()
        if staged.start == 0:
            staged.drop()


def _close(staged: Staged) -> None:
    """Of an upload that was cancelled before its first byte."""
    if staged.size == 0:
        staged.drop()
    staged.close()


async def _settled(done: asyncio.Future[T]) -> None:
    """Wait for the end of what a thread does, however often one is told not to."""
    while not done.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({done})


def _compare(digest: Digest | None, found: Callable[[str], bytes]) -> None:
    if digest and not hmac.compare_digest(found(digest.algorithm), digest.value):
        raise DigestWrong(
            f"The bytes that came are not those of '{digest.field}'.",
            "Send them again.",
            header=digest.field,
        )


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The file is larger than {limit_bytes} bytes.",
        "Ask who runs this gateway for a higher limit.",
        code="upload_too_large",
    )


def _unlike(coming: int) -> RequestInvalid:
    return RequestInvalid(
        f"'Content-Range' tells of {coming} bytes, and the body has another number.",
        "Send as many bytes as the range has.",
        code="range_mismatch",
    )


def _translated(work: Callable[[], T]) -> T:
    """What the system says of the disk as one of our errors.

    Raises:
        NoSpace: it is full.
        Unavailable: it cannot be used.
    """
    try:
        return work()
    except OSError as error:
        full = full_disk(error)
        if full is not None:
            raise full from error
        logs.defect("data root cannot be used", error)
        raise unusable() from error
