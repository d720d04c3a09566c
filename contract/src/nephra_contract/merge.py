"""Several label maps into one, on the grid of the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.labels import table
from nephra_contract.volume import LabelMap, Volume

#: Where two masks disagree, the structure further right stays: what is small and decides the
#: operation (tumour, urinary tract, vessels) is not painted over by what surrounds it.
PRECEDENCE = (
    "fat", "muscle", "organ", "bone", "kidney", "vein", "artery", "urinary", "cyst", "tumor",
)  # fmt: skip


def merge(maps: Sequence[LabelMap]) -> LabelMap:
    """Merge label maps on the first one's grid.

    Voxel by voxel the label whose group stands last in `PRECEDENCE` stays; within one group
    the earlier mask's.

    Args:
        maps: at least one; others than the first are resampled by nearest neighbour.
    """
    first = maps[0]
    if len(maps) == 1:
        return first
    rank = _ranks()
    voxels = first.voxels.astype(np.uint8)
    for other in maps[1:]:
        theirs = other.voxels if other.same_grid(first) else regrid(other, first).voxels
        wins = rank[theirs] > rank[voxels]
        np.copyto(voxels, theirs.astype(np.uint8, copy=False), where=wins)
    return first.like(voxels)


def regrid(labels: LabelMap, grid: Volume) -> LabelMap:
    """Resample by nearest neighbour onto another grid; outside of the old one is 0.

    Works slab by slab, so that no index array of the whole grid is made.
    """
    to_old = np.linalg.inv(labels.affine) @ grid.affine
    linear, offset = to_old[:3, :3], to_old[:3, 3]
    out = np.zeros(grid.shape, dtype=labels.voxels.dtype)
    j, k = np.meshgrid(*(np.arange(n) for n in grid.shape[1:]), indexing="ij")
    plane = np.stack([linear[a, 1] * j + linear[a, 2] * k + offset[a] for a in range(3)])
    limit = np.array(labels.shape).reshape(3, 1, 1)
    for i in range(grid.shape[0]):
        index = np.floor(plane + (linear[:, 0] * i).reshape(3, 1, 1) + 0.5).astype(np.int32)
        inside = ((index >= 0) & (index < limit)).all(axis=0)
        if inside.any():
            out[i][inside] = labels.voxels[tuple(index[:, inside])]
    return LabelMap(out, grid.affine)


def _ranks() -> NDArray[Any]:
    ranks = np.zeros(256, dtype=np.uint8)
    for number, label in table().items():
        ranks[number] = 1 + PRECEDENCE.index(label.group)
    return ranks
