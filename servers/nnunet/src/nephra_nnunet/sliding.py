"""The network over an image, tile by tile, as nnU-Net does it (Isensee et al. 2021).

Tiles overlap by half, are weighted by a Gaussian with a standard deviation of an eighth of the
tile, and are summed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby, product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.progress import Progress
from nephra_nnunet.architecture import Triple
from nephra_nnunet.backends import Network, Target
from nephra_nnunet.plans import Heads
from nephra_nnunet.resampling import Operators

_STEP = 0.5
_SIGMA = 1 / 8
_PEAK = 10

Box = tuple[slice, slice, slice]


def segment(
    network: Network,
    image: NDArray[np.float32],
    target: Target,
    mirror_axes: Sequence[int],
    progress: Progress,
) -> None:
    """Run a network over a whole image, and write its labels.

    Args:
        network: ready to run.
        image: (channels, a, b, c) at the network's spacing.
        target: what becomes of the outputs; see `aim`.
        mirror_axes: spatial axes to average mirrored predictions over; empty for none.
        progress: advanced tile by tile, which is where cancelling happens.
    """
    padded = _pad(image, target)
    sink = network.sink(target)
    places = tiles(target.shape, target.patch)
    done = 0
    for row, following in _rows(places, target.shape[0]):
        for start in row:
            progress.advance(done / len(places), "inference")
            box = tuple(slice(s, s + p) for s, p in zip(start, target.patch, strict=True))
            sink.add(start, network.infer(padded[:, *box], mirror_axes))
            done += 1
        progress.advance(done / len(places), "inference")
        sink.finish(following)


def aim(
    shape: Triple,
    patch: Triple,
    back: Operators,
    heads: Heads,
    numbers: NDArray[np.uint8],
    labels: NDArray[np.uint8],
) -> Target:
    """The target for an image of that shape at the network's spacing; see `Target`."""
    missing = [max(p - n, 0) for n, p in zip(shape, patch, strict=True)]
    a, b, c = (slice(m // 2, m // 2 + n) for m, n in zip(missing, shape, strict=True))
    padded = [n + m for n, m in zip(shape, missing, strict=True)]
    return Target(
        shape=(padded[0], padded[1], padded[2]),
        inner=(a, b, c),
        patch=patch,
        weight=gaussian(patch),
        back=back,
        heads=heads,
        numbers=numbers,
        labels=labels,
    )


def tiles(shape: Triple, patch: Triple) -> list[Triple]:
    """Where tiles start: at most half a tile apart, evenly spread, nnU-Net's order."""
    starts = [_starts(n, p) for n, p in zip(shape, patch, strict=True)]
    return [(a, b, c) for a, b, c in product(*starts)]


@lru_cache(maxsize=8)
def gaussian(patch: Triple) -> NDArray[np.float32]:
    """The weight of each voxel of a tile, positive everywhere.

    nnU-Net stores it in half precision; the same rounding is kept, so that sums agree with
    its own. Only our accumulation is in float32.
    """
    peak = np.zeros(patch)
    peak[tuple(n // 2 for n in patch)] = 1
    smooth = ndimage.gaussian_filter(peak, [n * _SIGMA for n in patch], mode="constant")
    half = (smooth / smooth.max() * _PEAK).astype(np.float16)
    half[half == 0] = half[half > 0].min()
    weight: NDArray[np.float32] = half.astype(np.float32)
    weight.flags.writeable = False
    return weight


def _starts(length: int, tile: int) -> list[int]:
    count = int(np.ceil((length - tile) / (tile * _STEP))) + 1
    if count < 2:
        return [0]
    step = (length - tile) / (count - 1)
    return [int(np.round(step * n)) for n in range(count)]


def _rows(places: Sequence[Triple], length: int) -> Iterator[tuple[list[Triple], int]]:
    """Tiles that start at the same length, and from where on later tiles reach."""
    rows = [list(row) for _, row in groupby(places, key=lambda start: start[0])]
    following = [row[0][0] for row in rows[1:]] + [length]
    return zip(rows, following, strict=True)


def _pad(image: NDArray[np.float32], target: Target) -> NDArray[np.float32]:
    """Zeros around an image that is smaller than a tile."""
    if image.shape[1:] == target.shape:
        return image
    width = [
        (part.start, whole - part.stop)
        for part, whole in zip(target.inner, target.shape, strict=True)
    ]
    return np.pad(image, [(0, 0), *width])
