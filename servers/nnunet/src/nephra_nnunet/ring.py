"""Sums of overlapping tiles on the CPU, no longer than one tile; labels follow row by row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import InternalError
from nephra_nnunet import compiled, plain
from nephra_nnunet.architecture import Triple
from nephra_nnunet.backends import Target
from nephra_nnunet.export import Exporter
from nephra_nnunet.head import LastLayer


class Ring:
    """A `Sink` in NumPy arrays. Row r of the image lies in row r modulo the tile's length.

    Args:
        target: what becomes of the outputs.
        last: applied to what the network gave; None if that is logits already.
        threads: to use.
    """

    def __init__(self, target: Target, last: LastLayer | None, threads: int) -> None:
        self._target = target
        self._last = last
        channels = len(target.heads.names) if last is None else last.weight.shape[0]
        _, rows, columns = target.shape
        length = target.patch[0]
        self._sums = np.zeros((length, rows, columns, channels), dtype=np.float32)
        self._weights = np.zeros((length, rows, columns), dtype=np.float32)
        self._done = 0
        self._exporter = Exporter(target.back, target.heads, target.numbers, target.labels, threads)

    def add(self, start: Triple, output: NDArray[np.float32]) -> None:
        """See `Sink.add`; the output is (*patch, channels)."""
        kernels = compiled if self._exporter.is_compiled else plain
        kernels.add(self._sums, self._weights, output, self._target.weight, start)

    def finish(self, length: int) -> None:
        """See `Sink.finish`."""
        inner = self._target.inner
        for row in range(self._done, length):
            place = row % self._target.patch[0]
            if inner[0].start <= row < inner[0].stop:
                self._exporter.feed(row - inner[0].start, self._logits(place))
            self._sums[place] = 0
            self._weights[place] = 0
        self._done = length

    def _logits(self, place: int) -> NDArray[np.float32]:
        """(b, c, heads) of one row."""
        _, rows, columns = self._target.inner
        mean = self._sums[place, rows, columns] / self._weights[place, rows, columns, None]
        if self._last is not None:
            flat = mean.reshape(-1, mean.shape[2]) @ self._last.weight
            flat += self._last.bias
            mean = flat.reshape(*mean.shape[:2], -1)
        # One value that is not a number spoils the extremes, which are found without a copy.
        if not np.isfinite([mean.min(), mean.max()]).all():
            raise InternalError("A network gave values that are not numbers.")
        return mean
