"""From logits at the network's spacing to labels at full resolution.

nnU-Net interpolates every class to full resolution and takes the largest. Interpolation with
weights that are not negative is a convex combination: where all eight logits around a cell agree on
the winner, it wins inside the cell too; and a class can win there only if its largest corner
is not below some other class's smallest. So most cells are filled, in the others a few classes are
interpolated, and classes x full resolution is never held. Regions (thresholded outputs) have the
same rule: the last region that is positive at all corners, with none after it positive at any,
is what is seen inside.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nephra_nnunet import compiled, plain
from nephra_nnunet.plans import Heads
from nephra_nnunet.resampling import Operators

Plane = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of an interpolation with at most two weights: runs of samples between two others.

    Args:
        start, stop: (runs,) int64, the samples of a run at full resolution.
        low, high: (runs,) int64, the coarse samples around it; the same where one suffices.
        weight_low, weight_high: (full length,) float32, not negative.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight_low: NDArray[np.float32]
    weight_high: NDArray[np.float32]


def axis_of(way: NDArray[np.float32]) -> Axis:
    """The runs of an operator, (full length, coarse length).

    Raises:
        ValueError: a sample depends on more than two neighbours, or on one negatively.
    """
    rows = np.arange(way.shape[0])
    low = (way != 0).argmax(axis=1)
    high = way.shape[1] - 1 - (way[:, ::-1] != 0).argmax(axis=1)
    if (high - low > 1).any() or (way < 0).any():
        raise ValueError("the interpolation is not linear")
    weight_low = way[rows, low]
    weight_high = np.where(high > low, way[rows, high], np.float32(0))
    changes = np.flatnonzero((np.diff(low) != 0) | (np.diff(high) != 0)) + 1
    start = np.concatenate([[0], changes])
    stop = np.concatenate([changes, [rows.size]])
    return Axis(
        start=start.astype(np.int64),
        stop=stop.astype(np.int64),
        low=low[start].astype(np.int64),
        high=high[start].astype(np.int64),
        weight_low=weight_low.astype(np.float32),
        weight_high=weight_high.astype(np.float32),
    )


@dataclass
class Exporter:
    """Takes planes of logits in their order, and writes labels as soon as they are decided.

    Args:
        back: to full resolution.
        heads: what the outputs mean.
        numbers: (heads + 1,) uint8: what is written for each value of `decide`.
        labels: full resolution; a view that is written to.
        threads: to use.
        is_compiled: by compiled code, or by NumPy.
    """

    back: Operators
    heads: Heads
    numbers: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    threads: int = 1
    is_compiled: bool = field(default_factory=compiled.available)
    _planes: dict[int, tuple[Plane, NDArray[np.int16]]] = field(default_factory=dict)
    _run: int = 0

    def __post_init__(self) -> None:
        self._axes = [axis_of(m) for m in self.back.matrices]

    def feed(self, row: int, logits: Plane) -> None:
        """Take the next plane.

        Args:
            row: its place along the first axis at the network's spacing; from 0, without gaps.
            logits: (b, c, heads) float32, contiguous; kept.
        """
        self._planes[row] = (logits, plain.decide(logits, self.heads.regions))
        first = self._axes[0]
        while self._run < first.start.size and first.high[self._run] <= row:
            self._write(self._run)
            self._run += 1
        needed = first.low[self._run] if self._run < first.start.size else row + 1
        for old in [r for r in self._planes if r < needed]:
            del self._planes[old]

    def _write(self, run: int) -> None:
        first, second, third = self._axes
        part = slice(int(first.start[run]), int(first.stop[run]))
        weights = np.stack([first.weight_low[part], first.weight_high[part]])
        low, high = self._planes[int(first.low[run])], self._planes[int(first.high[run])]
        kernels = compiled if self.is_compiled else plain

        def write(rows: tuple[int, int]) -> None:
            kernels.write(
                low,
                high,
                weights,
                second,
                third,
                rows,
                self.numbers,
                self.heads.regions,
                self.labels[part],
            )

        chunks = np.linspace(0, second.start.size, self.threads + 1).astype(int)
        spans = [(int(a), int(b)) for a, b in itertools.pairwise(chunks) if b > a]
        if len(spans) == 1:
            write(spans[0])
            return
        with ThreadPoolExecutor(len(spans)) as pool:
            list(pool.map(write, spans))
