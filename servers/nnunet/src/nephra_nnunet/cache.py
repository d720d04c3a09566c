"""What is kept from one request to the next, within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ByteCache:
    """Values by key; the least recently used go when the bytes do not suffice.

    Threads may share it. A value that was dropped lives on with those who hold it.

    Args:
        budget: bytes that it may hold.
        held: bytes that it holds.
    """

    budget: int
    held: int = 0
    _values: OrderedDict[Hashable, tuple[Any, int]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Hashable) -> Any | None:
        """The value of that key, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of `size` bytes, if it fits the budget at all."""
        with self._lock:
            if key in self._values:
                self.held -= self._values.pop(key)[1]
            if size <= self.budget:
                self._values[key] = (value, size)
                self.held += size
            self._shrink(self.budget)

    def shrink(self, to_bytes: int) -> None:
        """Drop the least recently used until no more than that is held."""
        with self._lock:
            self._shrink(to_bytes)

    def _shrink(self, to_bytes: int) -> None:
        while self.held > max(to_bytes, 0):
            _, (_, size) = self._values.popitem(last=False)
            self.held -= size
