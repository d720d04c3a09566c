"""The connected pieces of a tree of tubes, as a graph of voxels measured in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

#: The half of the 26 neighbours that come later in C order.
_LATER = np.array([o for o in product((-1, 0, 1), repeat=3) if o > (0, 0, 0)])


@dataclass(frozen=True)
class Fragments:
    """Voxels of all pieces large enough to be anatomy.

    Args:
        indices: (N, 3) voxel indices in C order.
        points_mm: (N, 3) positions in the crop's local frame.
        piece: (N,) number of the piece, 0-based, ordered as the pieces' first voxels.
        graph: (N, N) upper half of the neighbour graph, edge lengths in mm.
        voxel_mm3: volume of one voxel.
        step_mm: length of the longest edge between neighbours along an axis.
    """

    indices: NDArray[np.int32]
    points_mm: NDArray[np.float64]
    piece: NDArray[np.int32]
    graph: csr_array
    voxel_mm3: float
    step_mm: float

    @property
    def count(self) -> int:
        """Number of pieces."""
        return int(self.piece.max(initial=-1)) + 1

    def volumes_mm3(self) -> NDArray[np.float64]:
        """(pieces,) volume of each."""
        return np.asarray(
            np.bincount(self.piece, minlength=self.count) * self.voxel_mm3, np.float64
        )

    def farthest(self, distance_mm: NDArray[np.float64]) -> NDArray[np.intp]:
        """(pieces,) the voxel of each piece with the largest distance; the first of equals."""
        order = np.lexsort((np.arange(distance_mm.size), -distance_mm, self.piece))
        first = np.searchsorted(self.piece[order], np.arange(self.count))
        return np.asarray(order[first])

    def distances_mm(self, sources: NDArray[np.intp]) -> NDArray[np.float64]:
        """(N,) length of the shortest way through the piece to its source voxel."""
        found = dijkstra(self.graph, directed=False, indices=sources, min_only=True)
        # Sums along different ways differ in their last bits; equal must be equal.
        return np.asarray(np.round(found, 6), dtype=np.float64)


@dataclass(frozen=True)
class Small:
    """A piece too small to be looked at."""

    centre_mm: NDArray[np.float64]
    volume_mm3: float


def find_fragments(
    mask: NDArray[np.bool_], linear: NDArray[np.float64], min_volume_mm3: float
) -> tuple[Fragments, list[Small]]:
    """Split a mask into pieces (26-connected).

    Args:
        mask: (X, Y, Z).
        linear: (3, 3) voxel → mm in patient axes.
        min_volume_mm3: pieces below are set aside.
    """
    pieces, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    voxel_mm3 = float(abs(np.linalg.det(linear)))
    stats = cc3d.statistics(pieces)
    volumes = np.asarray(stats["voxel_counts"], dtype=np.float64) * voxel_mm3
    large = volumes >= min_volume_mm3
    large[0] = False
    small = [
        Small(np.asarray(stats["centroids"][n]) @ linear.T, float(volumes[n]))
        for n in range(1, count + 1)
        if not large[n]
    ]
    indices = np.argwhere(large[pieces])
    renumbered = np.cumsum(large) - 1
    piece = renumbered[pieces[tuple(indices.T)]].astype(np.int32)
    return (
        Fragments(
            indices.astype(np.int32),
            indices @ linear.T,
            piece,
            _neighbour_graph(indices, mask.shape, linear),
            voxel_mm3,
            float(np.linalg.norm(linear, axis=0).max()),
        ),
        small,
    )


def _neighbour_graph(
    indices: NDArray[np.intp], shape: tuple[int, ...], linear: NDArray[np.float64]
) -> csr_array:
    """Edges from each voxel to its 13 later neighbours, row by row, so that nothing is sorted."""
    padded = np.array(shape) + 2
    strides = np.array([padded[1] * padded[2], padded[2], 1])
    keys = (indices + 1) @ strides
    count = keys.size
    neighbours = np.full((count, len(_LATER)), -1, dtype=np.int32)
    for column, offset in enumerate(_LATER):
        wanted = keys + offset @ strides
        at = np.minimum(np.searchsorted(keys, wanted), max(count - 1, 0))
        found = keys[at] == wanted
        neighbours[found, column] = at[found]
    there = neighbours >= 0
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    lengths = np.linalg.norm(_LATER @ linear.T, axis=1)
    data = np.broadcast_to(lengths, there.shape)[there]
    return csr_array((data, neighbours[there], starts), shape=(count, count))
