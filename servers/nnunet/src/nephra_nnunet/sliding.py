"""The network over an image, tile by tile, as nnU-Net does it (Isensee et al. 2021).

Tiles overlap by half, are weighted by a Gaussian with a standard deviation of an eighth of the
tile, and are summed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.progress import Progress
from nephra_nnunet.architecture import Triple
from nephra_nnunet.backends import Network

_STEP = 0.5
_SIGMA = 1 / 8
_PEAK = 10


def predict(
    network: Network,
    image: NDArray[np.float32],
    patch: Triple,
    heads: int,
    mirror_axes: Sequence[int],
    progress: Progress,
) -> NDArray[np.float32]:
    """Logits of a whole image.

    Args:
        network: ready to run.
        image: (channels, a, b, c).
        patch: the tile.
        heads: outputs of the network.
        mirror_axes: spatial axes to average mirrored predictions over; empty for none.
        progress: advanced tile by tile, which is where cancelling happens.

    Returns:
        (heads, a, b, c) float32.
    """
    padded, inner = _pad(image, patch)
    shape = padded.shape[1:]
    weight = gaussian(patch)
    total = np.zeros((heads, *shape), dtype=np.float32)
    weights = np.zeros(shape, dtype=np.float32)
    places = tiles((shape[0], shape[1], shape[2]), patch)
    for done, start in enumerate(places):
        progress.advance(done / len(places), "inference")
        box = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        logits = _mirrored(network, padded[:, *box], mirror_axes)
        total[:, *box] += logits * weight
        weights[box] += weight
    progress.advance(1.0, "inference")
    total /= weights
    return total[:, *inner]


def tiles(shape: Triple, patch: Triple) -> list[Triple]:
    """Where tiles start: at most half a tile apart, evenly spread, nnU-Net's order."""
    starts = [_starts(n, p) for n, p in zip(shape, patch, strict=True)]
    return [(a, b, c) for a, b, c in product(*starts)]


def _starts(length: int, tile: int) -> list[int]:
    count = int(np.ceil((length - tile) / (tile * _STEP))) + 1
    if count < 2:
        return [0]
    step = (length - tile) / (count - 1)
    return [int(np.round(step * n)) for n in range(count)]


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


def _mirrored(
    network: Network, tile: NDArray[np.float32], axes: Sequence[int]
) -> NDArray[np.float32]:
    once: NDArray[np.float32] = network.infer(tile)
    if not axes:
        return once
    total: NDArray[np.float32] = once.copy()
    flips = [f for n in range(1, len(axes) + 1) for f in combinations(axes, n)]
    for flip in flips:
        spatial = tuple(a + 1 for a in flip)
        total += np.flip(network.infer(np.flip(tile, spatial)), spatial)
    return np.asarray(total / np.float32(len(flips) + 1), dtype=np.float32)


def _pad(
    image: NDArray[np.float32], patch: Triple
) -> tuple[NDArray[np.float32], tuple[slice, slice, slice]]:
    """Zeros around an image smaller than a tile; and where the image then lies."""
    missing = [max(p - n, 0) for n, p in zip(image.shape[1:], patch, strict=True)]
    before = [m // 2 for m in missing]
    inner = [slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True)]
    box = (inner[0], inner[1], inner[2])
    if not any(missing):
        return image, box
    width = [(0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))]
    return np.pad(image, width), box
