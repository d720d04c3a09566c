"""Where each label of a map lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def boxes_of(voxels: NDArray[Any]) -> dict[int, Box]:
    """The bounding box of every label, ascending, in one pass over the memory as it lies.

    Args:
        voxels: (I, J, K) unsigned integers; 0 is nothing.
    """
    # The axis whose steps are longest comes first, the one that lies in a row last.
    order = np.argsort([-abs(s) for s in voxels.strides], kind="stable")
    stored = voxels.transpose(order)
    labels = int(voxels.max(initial=0)) + 1
    depth, height, width = stored.shape
    seen = [np.zeros(n * labels, bool) for n in stored.shape]
    row, column = (np.repeat(np.arange(height), width), np.tile(np.arange(width), height))
    row, column = row * labels, column * labels
    for number, plane in enumerate(stored):
        flat = plane.ravel()
        place = np.flatnonzero(flat != 0)
        found = flat[place].astype(np.int64)
        seen[0][number * labels + found] = True
        seen[1][row[place] + found] = True
        seen[2][column[place] + found] = True
    spans = [_span(places.reshape(-1, labels)) for places in seen]
    boxes: dict[int, Box] = {}
    for label in np.flatnonzero(seen[0].reshape(depth, labels).any(axis=0)):
        of_stored = [slice(int(low[label]), int(high[label]) + 1) for low, high in spans]
        i, j, k = (of_stored[int(np.flatnonzero(order == axis)[0])] for axis in range(3))
        boxes[int(label)] = (i, j, k)
    boxes.pop(0, None)
    return boxes


def _span(seen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last place along an axis, by label."""
    return seen.argmax(axis=0), len(seen) - 1 - seen[::-1].argmax(axis=0)
