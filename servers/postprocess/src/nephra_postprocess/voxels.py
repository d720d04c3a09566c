"""Lists of voxels: found without a copy of the volume, and who touches whom."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap

#: (x, y) steps to the rows of neighbours that come later in C order, but the voxel's own row.
_LATER_ROWS = ((0, 1), (1, -1), (1, 0), (1, 1))


def voxels_of(labels: LabelMap, wanted: Iterable[int]) -> NDArray[np.int32]:
    """(N, 3) indices in C order of all voxels of some labels; a slab at a time."""
    numbers = sorted(wanted)
    along = int(np.argmax(np.abs(labels.voxels.strides)))
    others = [a for a in range(3) if a != along]
    found = []
    for index, slab in enumerate(np.moveaxis(labels.voxels, along, 0)):
        part = _in_slab(slab, numbers)
        if part is not None:
            voxels = np.empty((part[0].size, 3), dtype=np.int32)
            voxels[:, along] = index
            voxels[:, others[0]], voxels[:, others[1]] = part
            found.append(voxels)
    if not found:
        return np.zeros((0, 3), dtype=np.int32)
    indices = np.concatenate(found)
    return np.asarray(indices[np.lexsort(indices.T[::-1])])


def _in_slab(
    slab: NDArray[np.integer], numbers: list[int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    # Few labels compare faster than a table looks up, and most slabs have none of them.
    inside = slab == numbers[0] if len(numbers) == 1 else np.isin(slab, numbers, kind="table")
    if not inside.any():
        return None
    # Searched as it lies in memory, whatever the order of its axes.
    turned = abs(inside.strides[0]) < abs(inside.strides[1])
    first, second = np.nonzero(inside.T if turned else inside)
    return (second, first) if turned else (first, second)


def edges(
    indices: NDArray[np.int32], shape: tuple[int, int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pairs of voxels that touch by a side, an edge or a corner; each pair once.

    In C order the three neighbours of one row lie side by side: one search finds all of them.
    """
    padded = np.array(shape, dtype=np.int64) + 2
    keys = ((indices[:, 0] + np.int64(1)) * padded[1] + indices[:, 1] + 1) * padded[2]
    keys += indices[:, 2] + 1
    number = np.arange(keys.size, dtype=np.int32)
    there = np.flatnonzero(np.diff(keys) == 1).astype(np.int32)
    rows, columns = [there], [there + np.int32(1)]
    for x, y in _LATER_ROWS:
        wanted = keys + (x * padded[1] + y) * padded[2] - 1
        at = np.searchsorted(keys, wanted).astype(np.int32)
        for _ in range(3):
            found = keys[np.minimum(at, keys.size - 1)] == wanted
            found &= at < keys.size
            rows.append(number[found])
            columns.append(at[found])
            at += found
            wanted += 1
    return np.concatenate(rows), np.concatenate(columns)
