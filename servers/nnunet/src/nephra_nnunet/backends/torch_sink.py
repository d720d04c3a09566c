"""Sums of overlapping tiles on PyTorch's device, and labels from them, without leaving it.

The rules are those of `ring` and `export` on the CPU. Their compiled loops go cell by cell; here
all voxels of a plane go at once: first those whose corners agree, then the others in chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import InternalError
from nephra_nnunet.architecture import Triple
from nephra_nnunet.backends import Target
from nephra_nnunet.backends.torch_memory import within_memory
from nephra_nnunet.export import Axis, axis_of
from nephra_nnunet.head import LastLayer

#: Heads x voxels that are interpolated at once; about four such arrays live together. Less leaves
#: a GPU idle between steps, and a CPU's threads waiting for each other; more leaves its caches.
_CHUNK_BYTES = {"cuda": 2**26, "cpu": 2**23}
#: Where the corners around a voxel are not of one mind.
_UNSETTLED = -1


@dataclass(frozen=True, eq=False)
class _Plane:
    """A finished plane: (b * c, heads) float32 logits, and what is seen of them, (b, c) int16."""

    logits: Any
    seen: Any


@dataclass(frozen=True, eq=False)
class _Way:
    """An axis of an interpolation on the device, for each sample at full resolution.

    Args:
        low, high: (n,) int64, the coarse samples around it.
        weight_low, weight_high: (n,) float32.
    """

    low: Any
    high: Any
    weight_low: Any
    weight_high: Any


class TorchSink:
    """A `Sink` on a device. Row r of the image lies in row r modulo the tile's length.

    Args:
        target: what becomes of the outputs.
        last: applied to what the network gave; None if that is logits already.
        device: a `torch.device`.

    Raises:
        InsufficientMemory: the device cannot hold the sums.
    """

    def __init__(self, target: Target, last: LastLayer | None, device: Any) -> None:
        import torch

        self._target = target
        self._device = device
        self._channels = len(target.heads.names) if last is None else last.weight.shape[0]
        self._first = axis_of(target.back.matrices[0])
        ring = target.patch[0], *target.shape[1:]
        needed = 4 * (self._channels + 1) * int(np.prod(ring, dtype=np.int64))
        with within_memory(device, f"The sums of tiles, {needed / 2**30:.1f} GiB,"):
            self._second = self._way(axis_of(target.back.matrices[1]))
            self._third = self._way(axis_of(target.back.matrices[2]))
            self._weight = self._put(target.weight)
            self._numbers = self._put(target.numbers)
            self._last = None if last is None else (self._put(last.weight), self._put(last.bias))
            self._sums = torch.zeros((self._channels, *ring), device=device)
            self._weights = torch.zeros(ring, device=device)
        self._done = 0
        self._run = 0
        self._planes: dict[int, _Plane] = {}

    def add(self, start: Triple, output: Any) -> None:
        """See `Sink.add`; the output is (channels, *patch) float32 on the device."""
        length, rows, columns = self._target.patch
        box = slice(start[1], start[1] + rows), slice(start[2], start[2] + columns)
        turn = length - start[0] % length
        with within_memory(self._device, "A tile's outputs"):
            for here, there in (
                (slice(0, turn), slice(length - turn, length)),
                (slice(turn, length), slice(0, length - turn)),
            ):
                weight = self._weight[here]
                self._sums[:, there, *box].addcmul_(output[:, here], weight)
                self._weights[there, *box].add_(weight)

    def finish(self, length: int) -> None:
        """See `Sink.finish`.

        Raises:
            InternalError: a logit is not finite.
            InsufficientMemory: the device cannot hold what a plane needs.
        """
        inner = self._target.inner[0]
        with within_memory(self._device, "The labels of a plane"):
            for row in range(self._done, length):
                place = row % self._target.patch[0]
                if inner.start <= row < inner.stop:
                    self._feed(row - inner.start, self._plane(place))
                self._sums[:, place].zero_()
                self._weights[place].zero_()
        self._done = length

    def _plane(self, place: int) -> _Plane:
        """What the tiles say of one row of the image."""
        import torch

        _, rows, columns = self._target.inner
        mean = self._sums[:, place, rows, columns] / self._weights[place, rows, columns]
        logits = mean.permute(1, 2, 0).reshape(-1, self._channels)
        if self._last is not None:
            weight, bias = self._last
            logits = torch.addmm(bias, logits, weight)
        if not bool(torch.isfinite(logits).all()):
            raise InternalError("A network gave values that are not numbers.")
        return _Plane(logits, self._decide(logits).reshape(mean.shape[1:]))

    def _feed(self, row: int, plane: _Plane) -> None:
        """Write all that the next plane completes, and keep what more needs."""
        first = self._first
        self._planes[row] = plane
        while self._run < first.start.size and first.high[self._run] <= row:
            self._write(self._run)
            self._run += 1
        needed = first.low[self._run] if self._run < first.start.size else row + 1
        self._planes = {r: p for r, p in self._planes.items() if r >= needed}

    def _write(self, run: int) -> None:
        """The labels of all planes at full resolution between the same two coarse ones."""
        import torch

        first = self._first
        low, high = self._planes[int(first.low[run])], self._planes[int(first.high[run])]
        seen = self._spread(_agree(low.seen, high.seen))
        unsettled = torch.nonzero(seen.reshape(-1) == _UNSETTLED)[:, 0]
        settled = self._numbers[seen.clamp_(min=0).long()]
        for place in range(int(first.start[run]), int(first.stop[run])):
            labels = settled
            if unsettled.numel():
                weights = float(first.weight_low[place]), float(first.weight_high[place])
                logits = low.logits * weights[0]
                if low is not high:
                    logits += high.logits * weights[1]
                labels = settled.clone()
                self._settle(logits, low.seen.shape[1], unsettled, labels.view(-1))
            # NumPy writes, because the target may have any strides.
            self._target.labels[place] = labels.cpu().numpy()

    def _spread(self, seen: Any) -> Any:
        """(b, c) → (full b, full c): what the corners around each voxel agree on."""
        second, third = self._second, self._third
        rows = _agree(seen[second.low], seen[second.high])
        return _agree(rows[:, third.low], rows[:, third.high])

    def _settle(self, logits: Any, width: int, voxels: Any, labels: Any) -> None:
        """Interpolate where corners do not agree.

        Args:
            logits: (b * c, heads) of this plane, at coarse samples.
            width: c.
            voxels: (n,) int64, places in `labels`.
            labels: (full b * full c) uint8; changed.
        """
        second, third = self._second, self._third
        size = max(_CHUNK_BYTES[self._device.type] // (4 * logits.shape[1]), 1)
        for part in voxels.split(size):
            row, column = part // third.low.numel(), part % third.low.numel()
            over, under = second.low[row] * width, second.high[row] * width
            weights = second.weight_low[row, None], second.weight_high[row, None]
            sides = [
                _mix(logits, over + side[column], under + side[column], weights)
                for side in (third.low, third.high)
            ]
            values = sides[0].mul_(third.weight_low[column, None])
            values += sides[1].mul_(third.weight_high[column, None])
            labels[part] = self._numbers[self._decide(values).long()]

    def _decide(self, logits: Any) -> Any:
        """(n, heads) → (n,) int16; see `plain.decide`."""
        import torch

        if not self._target.heads.regions:
            return logits.argmax(dim=1).to(torch.int16)
        order = torch.arange(1, logits.shape[1] + 1, dtype=torch.int16, device=self._device)
        return ((logits > 0) * order).amax(dim=1)

    def _way(self, axis: Axis) -> _Way:
        runs = axis.stop - axis.start
        low, high = (self._put(np.repeat(a, runs)) for a in (axis.low, axis.high))
        return _Way(low, high, self._put(axis.weight_low), self._put(axis.weight_high))

    def _put(self, values: NDArray[Any]) -> Any:
        """A copy on the device."""
        import torch

        return torch.from_numpy(np.array(values)).to(self._device)


def _agree(low: Any, high: Any) -> Any:
    """What both see; `_UNSETTLED` where they differ."""
    import torch

    return torch.where(low == high, low, _UNSETTLED)


def _mix(logits: Any, low: Any, high: Any, weights: tuple[Any, Any]) -> Any:
    """(n, heads) between two samples each; products and a sum, as the CPU's loops have it."""
    made = logits.index_select(0, low).mul_(weights[0])
    made += logits.index_select(0, high).mul_(weights[1])
    return made
