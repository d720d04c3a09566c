"""What files hold, found out once and remembered for as long as they are not touched."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

from nephra_contract.errors import NephraError
from nephra_contract.fences import RESULTS
from nephra_contract.nifti_header import MAX_VOXELS
from nephra_contract.paths import DataRoot
from nephra_gateway.fingerprint import Content, Stopped, file_sha256, fingerprint

#: What a file system says of a file: device, number, bytes, when it was written and when it was
#: changed. Whoever writes into a file, or puts another one in its place, changes it: the last
#: one cannot be set back.
Signature = tuple[int, int, int, int, int]

#: Files of which it is remembered what they hold; one takes about 400 bytes.
_REMEMBERED = 50_000

#: File systems do not tell apart two changes within one tick of the kernel's clock (at most 10 ms).
_TICK_S = 0.02

#: A file that is written to while it is read is read again this often.
_PASSES = 3

#: Their own: the threads of the event loop are for what is quick. More than two passes at once
#: would only wait for each other at the disk.
_THREADS = 2

#: Paths that are what they look like: below the data root, and in no hidden folder.
_PLAIN = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")

T = TypeVar("T")


class Findings(Generic[T]):
    """What was found out of files by reading them.

    Reading is done in threads, one pass at a time over each file, however many ask.

    Args:
        look: finds it out; None where it cannot be.
        threads: in which that is done.
        size: files that are remembered; the least recently used goes first.
    """

    def __init__(
        self,
        look: Callable[[Path], T | None],
        threads: ThreadPoolExecutor,
        size: int = _REMEMBERED,
    ) -> None:
        self._look = look
        self._threads = threads
        self._size = size
        self._found: OrderedDict[Signature, T] = OrderedDict()
        self._passes: dict[Signature, asyncio.Task[T | None]] = {}

    def get(self, signature: Signature) -> T | None:
        """What is remembered; None where nothing is."""
        found = self._found.get(signature)
        if found is not None:
            self._found.move_to_end(signature)
        return found

    async def find(self, path: Path) -> T | None:
        """Find out; None where the file cannot be read, or changes all the time."""
        for _ in range(_PASSES):
            signature = signature_of(path)
            if signature is None:
                return None
            found = self.get(signature)
            if found is not None:
                return found
            found = await self._pass(path, signature)
            if signature_of(path) == signature:
                return found
        return None

    async def end(self) -> None:
        """Wait for all passes."""
        if self._passes:
            await asyncio.wait(set(self._passes.values()))

    async def _pass(self, path: Path, signature: Signature) -> T | None:
        """Read a file, or wait for whoever does so; a caller that goes away ends nothing."""
        reading = self._passes.get(signature)
        if reading is None:
            reading = asyncio.create_task(self._read(path, signature))
            self._passes[signature] = reading
            reading.add_done_callback(lambda _: self._passes.pop(signature, None))
        return await asyncio.shield(reading)

    async def _read(self, path: Path, signature: Signature) -> T | None:
        if abs(time.time() - signature[-1] / 1e9) < _TICK_S:
            await asyncio.sleep(_TICK_S)  # from here on, who writes to it changes its signature
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, self._look, path)
        except Stopped:
            return None
        if found is not None and signature_of(path) == signature:
            self._found[signature] = found
            while len(self._found) > self._size:
                self._found.popitem(last=False)
        return found


class Contents:
    """The contents of the data root's files; all methods belong to the event loop.

    Args:
        data: where the files lie; all paths are relative to it.
        max_voxels: of the largest volume.
    """

    def __init__(self, data: DataRoot, max_voxels: int = MAX_VOXELS) -> None:
        self._data = data
        self._root = str(data.root)
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="contents")
        self._contents = Findings[Content](
            lambda path: fingerprint(path, max_voxels, self._stop), self._threads
        )
        self._digests = Findings[str](lambda path: file_sha256(path, self._stop), self._threads)

    def known(self, path: str) -> Content | None:
        """What a file holds, if that is remembered; never waits.

        Where a path leads is followed step by step when its file is read. If the very same file
        is found again, that has been allowed; what else a path must not be can be seen of it.
        """
        file = f"{self._root}/{path}" if _PLAIN.fullmatch(path) else self._file(path)
        signature = None if file is None else signature_of(file)
        return None if signature is None else self._contents.get(signature)

    async def of(self, path: str) -> Content | None:
        """What a file holds; None for what is no readable NIfTI image, or not there."""
        file = self._file(path)
        return None if file is None else await self._contents.find(file)

    def known_digest(self, path: str) -> str | None:
        """SHA-256 of a file's bytes, if that is remembered; never waits.

        The path is one that nephra made itself, so where it leads is not looked at: every answer
        from the cache asks for several.
        """
        signature = signature_of(f"{self._root}/{path}")
        if signature is None:
            return None
        content = self._contents.get(signature)
        return self._digests.get(signature) if content is None else content.file

    def usable(self, path: str) -> bool:
        """Whether the data root can be asked for a file, which need not be there.

        Where it is not mounted, or does not answer, nothing can be said of its files.
        """
        try:
            os.stat(f"{self._root}/{path}")  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return (self._data.root / RESULTS).is_dir()
        except OSError:
            return False
        return True

    async def file_digest(self, path: str) -> str | None:
        """SHA-256 of a file's bytes; None where it cannot be read."""
        known = self.known_digest(path)
        file = self._file(path)
        return known if known is not None or file is None else await self._digests.find(file)

    async def close(self) -> None:
        """End all passes."""
        self._stop.set()
        await self._contents.end()
        await self._digests.end()
        self._threads.shutdown()

    def _file(self, path: str) -> Path | None:
        try:
            return self._data.file(path)
        except NephraError:
            return None


def signature_of(path: Path | str) -> Signature | None:
    """What the file system says of a file; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a fifth of the time
    except OSError:
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
