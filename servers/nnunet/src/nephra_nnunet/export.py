"""From logits at the network's spacing to labels at full resolution.

nnU-Net interpolates every class to full resolution and takes the largest. Interpolation with
weights that are not negative is a convex combination: where all logits around agree on the
winner, it wins between them too. Only blocks where they disagree are interpolated, one small
block at a time, so that classes x full resolution is never held.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nephra_contract.progress import Progress
from nephra_nnunet.plans import Heads
from nephra_nnunet.resampling import Operators

#: Edge of a block at full resolution: its classes fit into a core's cache.
_BLOCK = 32

Span = tuple[slice, slice]


def decide(logits: NDArray[np.float32], heads: Heads) -> NDArray[np.uint8]:
    """(heads, …) logits → (…) which output is seen: 0 nothing, h the h-th number; see `numbers`."""
    if heads.regions:
        seen = np.zeros(logits.shape[1:], dtype=np.uint8)
        for region in range(logits.shape[0]):
            # A probability above one half is a logit above zero.
            seen[logits[region] > 0] = region + 1
        return seen
    winner = np.zeros(logits.shape[1:], dtype=np.uint8)
    best = logits[0].copy()
    for head in range(1, logits.shape[0]):
        better = logits[head] > best
        winner[better] = head
        np.maximum(best, logits[head], out=best)
    return winner


def labels_at_full_resolution(
    logits: NDArray[np.float32], back: Operators, heads: Heads, progress: Progress
) -> NDArray[np.uint8]:
    """Interpolate logits and decide.

    Args:
        logits: (heads, a, b, c) at the network's spacing.
        back: to full resolution.
        heads: what the outputs mean.
        progress: advanced row of blocks by row of blocks.

    Returns:
        full resolution, uint8 as `decide`.
    """
    coarse = decide(logits, heads)
    if back.shape == coarse.shape:
        return coarse
    pattern = _pattern(logits, heads) if heads.regions else coarse
    convex = all(bool((m >= 0).all()) for m in back.matrices)
    labels = np.empty(back.shape, dtype=np.uint8)
    spans = [list(_spans(m)) for m in back.matrices]
    for number, first in enumerate(spans[0]):
        progress.advance(number / len(spans[0]), "labels")
        for second, third in product(spans[1], spans[2]):
            to, source = zip(first, second, third, strict=True)
            around = pattern[source]
            if convex and (around == around.flat[0]).all():
                labels[to] = coarse[source].flat[0]
            else:
                labels[to] = decide(_interpolate(logits[:, *source], back, to, source), heads)
    return labels


def _pattern(logits: NDArray[np.float32], heads: Heads) -> NDArray[np.uint64]:
    """Which regions are positive, as bits: what has to agree for a block to be settled."""
    bits = np.zeros(logits.shape[1:], dtype=np.uint64)
    for region in range(len(heads.names)):
        bits |= (logits[region] > 0).astype(np.uint64) << np.uint64(region)
    return bits


def _spans(way: NDArray[np.float32]) -> Iterator[Span]:
    """Blocks of one axis: where at full resolution, and from which coarse samples."""
    for start in range(0, way.shape[0], _BLOCK):
        to = slice(start, min(start + _BLOCK, way.shape[0]))
        used = np.flatnonzero(way[to].any(axis=0))
        yield to, slice(int(used[0]), int(used[-1]) + 1)


def _interpolate(
    logits: NDArray[np.float32],
    back: Operators,
    to: tuple[slice, ...],
    source: tuple[slice, ...],
) -> NDArray[np.float32]:
    """(heads, block) from the coarse samples around it, axis by axis."""
    made = logits
    # The last axis first: it is contiguous, and gathering along it is the dearest.
    for axis in (2, 1, 0):
        made = _along(made, axis + 1, back.matrices[axis][to[axis], source[axis]])
    return made


def _along(values: NDArray[np.float32], axis: int, way: NDArray[np.float32]) -> NDArray[np.float32]:
    """Resample one axis. Linear ways have two entries per row: two gathers, no product.

    Blocks are too small for threaded matrix products, which lose more by waiting for each
    other than they gain.
    """
    rows = np.arange(way.shape[0])
    low = (way != 0).argmax(axis=1)
    high = np.minimum(low + 1, way.shape[1] - 1)
    if np.count_nonzero(way) > np.count_nonzero(way[rows, low]) + np.count_nonzero(
        way[rows, high] * (high > low)
    ):
        product = np.tensordot(values, way.T, axes=(axis, 0))
        return np.asarray(np.moveaxis(product, -1, axis), dtype=np.float32)
    shape = [1] * values.ndim
    shape[axis] = rows.size
    made: NDArray[np.float32] = np.take(values, low, axis=axis)
    if (high > low).any():
        share = (way[rows, high] * (high > low)).reshape(shape)
        made += share * (np.take(values, high, axis=axis) - made)
    return made
