"""What is kept from one request to the next, within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

#: What a value of a few numbers counts.
SMALL_BYTES = 64


@dataclass
class ByteCache:
    """Values by key; the least recently used go when the bytes do not suffice.

    Threads may share it. A value that was dropped lives on with those who hold it.

    Args:
        budget: bytes that it may hold.
        held: bytes that it holds.
        bound: bytes that it may hold for the time being; see `keep_within`.
    """

    budget: int
    held: int = 0
    bound: int | None = None
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
            if size <= self._most:
                self._values[key] = (value, size)
                self.held += size
            self._shrink()

    def keep_within(self, bound: int) -> None:
        """Hold no more than that, within the budget, until told otherwise."""
        with self._lock:
            self.bound = bound
            self._shrink()

    @property
    def _most(self) -> int:
        return self.budget if self.bound is None else max(min(self.budget, self.bound), 0)

    def _shrink(self) -> None:
        while self.held > self._most:
            _, (_, size) = self._values.popitem(last=False)
            self.held -= size
