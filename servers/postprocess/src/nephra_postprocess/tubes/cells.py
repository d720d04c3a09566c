"""Voxels in blocks of at most two along each axis, and which blocks touch.

Within such a block each voxel is a neighbour of each other (26-connected), and two blocks side by
side touch exactly if both have a voxel at the side that they share. So the graph of the blocks is
the graph of the voxels, at an eighth of its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

#: (x, y) steps to the rows of blocks that come later in C order, but the block's own row.
_LATER_ROWS = ((0, 1), (1, -1), (1, 0), (1, 1))
_CELL_MM = 2.0
_BITS = np.arange(8)


@dataclass(frozen=True)
class Cells:
    """The blocks of a list of voxels.

    Args:
        cell: (N,) block of each voxel.
        graph: (cells, cells) upper half: which touch.
    """

    cell: NDArray[np.int32]
    graph: csr_array


def cell_shape(linear: NDArray[np.float64]) -> NDArray[np.int32]:
    """(3,) voxels of a cell along each axis: two, but where they are thicker than a millimetre."""
    spacing = np.linalg.norm(linear, axis=0)
    return np.asarray(np.clip(np.floor(_CELL_MM / spacing + 1e-6), 1, 2).astype(np.int32))


def join_cells(
    indices: NDArray[np.int32], shape: tuple[int, int, int], linear: NDArray[np.float64]
) -> Cells:
    """Put voxels into cells.

    Args:
        indices: (N, 3).
        shape: of the volume.
        linear: (3, 3) voxel → mm.
    """
    size = cell_shape(linear)
    blocks, within = indices // size, indices % size
    rows = np.asarray(np.array(shape) // size + 3, dtype=np.int64)
    key = ((blocks[:, 0] + np.int64(1)) * rows[1] + blocks[:, 1] + 1) * rows[2] + blocks[:, 2] + 1
    keys, cell = np.unique(key, return_inverse=True)
    bit = 1 << (4 * within[:, 0] + 2 * within[:, 1] + within[:, 2])
    filled = np.bincount(cell, bit).astype(np.int64)
    return Cells(cell.astype(np.int32), _touching(keys, filled, rows, size))


def _touching(
    keys: NDArray[np.int64],
    filled: NDArray[np.int64],
    rows: NDArray[np.int64],
    size: NDArray[np.int32],
) -> csr_array:
    """Pairs of neighbouring blocks that both have a voxel where they meet; each pair once.

    In C order the three neighbours of one row lie side by side: one search finds all of them.
    """
    number = np.arange(keys.size, dtype=np.int32)
    firsts, seconds = [], []
    for x, y in ((0, 0), *_LATER_ROWS):
        wanted = keys + (x * rows[1] + y) * rows[2] + (1 if x == y == 0 else -1)
        at = np.searchsorted(keys, wanted).astype(np.int32)
        for z in (1,) if x == y == 0 else (-1, 0, 1):
            near = np.minimum(at, keys.size - 1)
            found = keys[near] == wanted
            found &= (filled & _side((x, y, z), size)) != 0
            found &= (filled[near] & _side((-x, -y, -z), size)) != 0
            firsts.append(number[found])
            seconds.append(near[found])
            at = at + (keys[near] == wanted).astype(np.int32)
            wanted = wanted + 1
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    graph = coo_array((np.ones(first.size, np.int8), (first, second)), (keys.size, keys.size))
    return csr_array(graph)


def _side(direction: tuple[int, int, int], size: NDArray[np.int32]) -> int:
    """The bits of a block's voxels that lie at its side, edge or corner in a direction."""
    places = np.stack([_BITS >> 2 & 1, _BITS >> 1 & 1, _BITS & 1], axis=1)
    wanted = np.ones(8, dtype=bool)
    for axis, step in enumerate(direction):
        if step:
            wanted &= places[:, axis] == (size[axis] - 1 if step > 0 else 0)
    return int((1 << _BITS[wanted]).sum())
