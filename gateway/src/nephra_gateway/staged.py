"""One upload on its way: bytes in a file of nephra's own, and their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What is read and written at once.
BLOCK_BYTES = 2**20


@dataclass
class Staged:
    """A file that is being received; to be used by one thread at a time.

    Args:
        path: where it lies.
        handle: its descriptor.
        start: how many bytes were there before.
    """

    path: Path
    handle: int
    start: int = 0
    received: int = 0
    published: bool = False
    _hashes: dict[str, Any] = field(default_factory=dict, repr=False)

    def expect(self, algorithms: Collection[str]) -> None:
        """Count digests by these while bytes come."""
        self._hashes = {a: _hash(a) for a in algorithms}

    @property
    def size(self) -> int:
        """How many bytes are there."""
        return self.start + self.received

    def write(self, block: bytes) -> None:
        """Append.

        Raises:
            OSError: the disk is full, or broken.
        """
        rest = memoryview(block)
        while rest:
            written = os.pwrite(self.handle, rest, self.size)
            self.received += written
            rest = rest[written:]
        for one in self._hashes.values():
            one.update(block)

    def digest(self, algorithm: str) -> bytes:
        """Of what was received."""
        found: bytes = self._hashes[algorithm].digest()
        return found

    def whole_digest(self, algorithm: str) -> bytes:
        """Of all that is there, read again where it did not come at once."""
        if self.start == 0:
            return self.digest(algorithm)
        hashed = _hash(algorithm)
        for offset in range(0, self.size, BLOCK_BYTES):
            hashed.update(os.pread(self.handle, BLOCK_BYTES, offset))
        found: bytes = hashed.digest()
        return found

    def settle(self) -> None:
        """Let it outlast a power cut."""
        os.fsync(self.handle)

    def rewind(self) -> None:
        """Forget what was received."""
        os.ftruncate(self.handle, self.start)
        self.received = 0

    def drop(self) -> None:
        """Forget all of it."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it; what is there stays for who goes on."""
        os.close(self.handle)


def _hash(algorithm: str) -> Any:
    return hashlib.new(algorithm.replace("-", ""))
