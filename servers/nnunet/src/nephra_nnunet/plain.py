"""The inner loops in NumPy: where there is no compiler, and to hold the compiled ones against."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nephra_nnunet.export import Axis

_Corners = tuple[NDArray[np.float32], NDArray[np.int16]]


def decide(logits: NDArray[np.float32], regions: bool) -> NDArray[np.int16]:
    """Which output is seen at each place.

    Args:
        logits: (…, heads).
        regions: outputs are regions, each seen where its logit is positive (a probability above
            one half), the later over the earlier; else the largest is seen, the first of equals.

    Returns:
        (…) int16: of classes the number of the output; of regions that plus one, 0 for none.
    """
    if not regions:
        return np.asarray(logits.argmax(axis=-1), dtype=np.int16)
    heads = logits.shape[-1]
    last = heads - (logits > 0)[..., ::-1].argmax(axis=-1)
    return np.asarray(np.where((logits > 0).any(axis=-1), last, 0), dtype=np.int16)


def add(
    sums: NDArray[np.float32],
    weights: NDArray[np.float32],
    output: NDArray[np.float32],
    weight: NDArray[np.float32],
    start: tuple[int, int, int],
) -> None:
    """Add a tile's outputs, weighted, to a ring: row r lies in row r modulo the ring's length.

    Args:
        sums: (length, b, c, channels); changed.
        weights: (length, b, c), the sum of weights; changed.
        output: (*patch, channels).
        weight: (*patch), contiguous.
        start: of the tile in the image.
    """
    first, second, third = start
    box = slice(second, second + output.shape[1]), slice(third, third + output.shape[2])
    for a in range(output.shape[0]):
        place = (first + a) % sums.shape[0]
        weights[place, *box] += weight[a]
        sums[place, *box] += output[a] * weight[a, :, :, None]


def write(
    low: _Corners,
    high: _Corners,
    weights: NDArray[np.float32],
    second: Axis,
    third: Axis,
    rows: tuple[int, int],
    numbers: NDArray[np.uint8],
    regions: bool,
    labels: NDArray[np.uint8],
) -> None:
    """Write the labels of one run between two planes.

    Args:
        low, high: the planes: (b, c, heads) logits, and what `decide` makes of them.
        weights: (2, a) of both, for each plane of full resolution in the run.
        second, third: the other two axes.
        rows: which runs of the second axis to do.
        numbers: what is written for each value of `decide`.
        regions: see `decide`.
        labels: (a, full b, full c) uint8; changed.
    """
    first = int(second.start[rows[0]])
    part = slice(first, int(second.stop[rows[1] - 1]))
    b_places = [places[part] for places in _spread(second)]
    b_weights = second.weight_low[part], second.weight_high[part]
    c_places, c_weights = _spread(third), (third.weight_low, third.weight_high)
    corners = list(product(range(2), repeat=3))
    for a in range(labels.shape[0]):
        # Row by row: all classes of a whole plane at full resolution would not fit a cache.
        for b in range(part.stop - part.start):
            values = np.zeros((labels.shape[2], low[0].shape[2]), np.float32)
            for i, j, k in corners:
                weight = weights[i, a] * b_weights[j][b] * c_weights[k]
                plane = (low, high)[i][0]
                values += plane[b_places[j][b], c_places[k]] * weight[:, None]
            labels[a, first + b] = numbers[decide(values, regions)]


def _spread(axis: Axis) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each sample at full resolution the coarse ones around it."""
    lengths = axis.stop - axis.start
    return np.repeat(axis.low, lengths), np.repeat(axis.high, lengths)
