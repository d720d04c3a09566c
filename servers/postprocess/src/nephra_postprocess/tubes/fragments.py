"""The connected pieces of a tree of tubes, as lists of voxels and a graph of small cells.

Nothing here is as large as the volume: a slab at a time is looked at, and only the tubes' own
voxels are kept. Geodesic distances are measured between cells of about two millimetres (the
connected voxels of one block), which is as exact as tubes need, and many times cheaper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from nephra_contract.volume import LabelMap
from nephra_postprocess.tubes.cells import Cells, cell_shape, join_cells
from nephra_postprocess.tubes.voxels import voxels_of


@dataclass(frozen=True)
class Fragments:
    """Voxels and cells of all pieces large enough to be anatomy.

    Args:
        indices: (N, 3) voxel indices in C order.
        points_mm: (N, 3) positions in the volume's local frame: voxel (0, 0, 0) is the origin.
        piece: (N,) number of the piece, 0-based.
        cell: (N,) number of the cell.
        cell_piece: (cells,) number of the piece of each cell.
        centres_mm: (cells, 3) means of the cells' voxels.
        sizes: (cells,) voxels of each.
        graph: (cells, cells) upper half of the neighbour graph, edge lengths in mm.
        linear: (3, 3) voxel → mm.
        shape: of the volume.
    """

    indices: NDArray[np.int32]
    points_mm: NDArray[np.float64]
    piece: NDArray[np.int32]
    cell: NDArray[np.int32]
    cell_piece: NDArray[np.int32]
    centres_mm: NDArray[np.float64]
    sizes: NDArray[np.int64]
    graph: csr_array
    linear: NDArray[np.float64]
    shape: tuple[int, int, int]

    @property
    def count(self) -> int:
        """Number of pieces."""
        return int(self.cell_piece.max(initial=-1)) + 1

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.linear)))

    @property
    def step_mm(self) -> float:
        """Extent of a cell along its longest axis."""
        spacing = np.linalg.norm(self.linear, axis=0)
        return float((spacing * cell_shape(self.linear)).max())

    def volumes_mm3(self) -> NDArray[np.float64]:
        """(pieces,) volume of each."""
        sizes = np.bincount(self.piece, minlength=self.count)
        return np.asarray(sizes * self.voxel_mm3, np.float64)

    def middles_mm(self) -> NDArray[np.float64]:
        """(pieces, 3) means of the pieces' voxels."""
        sizes = np.bincount(self.piece, minlength=self.count)
        sums = [np.bincount(self.piece, p, self.count) for p in self.points_mm.T]
        return np.asarray(np.stack(sums, axis=1) / sizes[:, None], np.float64)

    def farthest(self, distance_mm: NDArray[np.float64]) -> NDArray[np.intp]:
        """(pieces,) the cell of each piece with the largest distance; the first of equals."""
        order = np.lexsort((np.arange(distance_mm.size), -distance_mm, self.cell_piece))
        first = np.searchsorted(self.cell_piece[order], np.arange(self.count))
        return np.asarray(order[first])

    def distances_mm(self, sources: NDArray[np.intp]) -> NDArray[np.float64]:
        """(cells,) length of the shortest way through the piece to its source cell."""
        found = dijkstra(self.graph, directed=False, indices=sources, min_only=True)
        # Sums along different ways differ in their last bits; equal must be equal.
        return np.asarray(np.round(found, 6), dtype=np.float64)


@dataclass(frozen=True)
class Small:
    """A piece too small to be looked at.

    Args:
        centre_mm: (3,) in the local frame.
        volume_mm3: of its voxels.
        indices: (n, 3) its voxels.
    """

    centre_mm: NDArray[np.float64]
    volume_mm3: float
    indices: NDArray[np.int32]


def find_fragments(
    labels: LabelMap, numbers: Iterable[int], min_volume_mm3: float
) -> tuple[Fragments, list[Small]]:
    """Split a tree into its pieces (26-connected).

    Args:
        labels: (X, Y, Z) axes along right, front, head.
        numbers: the labels of the tree.
        min_volume_mm3: pieces below are set aside.
    """
    indices = voxels_of(labels, numbers)
    linear = labels.affine[:3, :3]
    cells = join_cells(indices, labels.shape, linear)
    _, piece_of_cell = connected_components(cells.graph, directed=False)
    piece = piece_of_cell[cells.cell]
    sizes = np.bincount(piece, minlength=1)
    voxel_mm3 = float(abs(np.linalg.det(linear)))
    large = sizes * voxel_mm3 >= min_volume_mm3
    small = list(_smalls(indices, piece, large, linear, voxel_mm3))
    return _of_pieces(indices, cells, piece_of_cell, large, labels), small


def _of_pieces(
    indices: NDArray[np.int32],
    cells: Cells,
    piece_of_cell: NDArray[np.int32],
    large: NDArray[np.bool_],
    labels: LabelMap,
) -> Fragments:
    """The large pieces, renumbered."""
    linear = labels.affine[:3, :3]
    keep_cell = large[piece_of_cell]
    keep = keep_cell[cells.cell]
    new_cell = (np.cumsum(keep_cell) - 1).astype(np.int32)
    new_piece = (np.cumsum(large) - 1).astype(np.int32)
    indices = indices[keep]
    cell = new_cell[cells.cell[keep]]
    cell_piece = new_piece[piece_of_cell[keep_cell]]
    points = indices @ linear.T
    sizes = np.bincount(cell, minlength=cell_piece.size)
    sums = np.stack([np.bincount(cell, p, sizes.size) for p in points.T], axis=1)
    centres = np.asarray(sums / np.maximum(sizes, 1)[:, None], dtype=np.float64)
    graph = cells.graph if keep_cell.all() else cells.graph[keep_cell][:, keep_cell]
    rows = np.repeat(np.arange(sizes.size), np.diff(graph.indptr))
    lengths = np.linalg.norm(centres[rows] - centres[graph.indices], axis=1)
    weighted = csr_array((lengths, graph.indices, graph.indptr), shape=graph.shape)
    return Fragments(
        indices, points, cell_piece[cell], cell, cell_piece, centres, sizes, weighted, linear,
        labels.shape,
    )  # fmt: skip


def _smalls(
    indices: NDArray[np.int32],
    piece: NDArray[np.int32],
    large: NDArray[np.bool_],
    linear: NDArray[np.float64],
    voxel_mm3: float,
) -> Iterator[Small]:
    """The pieces set aside, one by one."""
    rest = np.flatnonzero(~large[piece])
    rest = rest[np.argsort(piece[rest], kind="stable")]
    starts = np.flatnonzero(np.diff(piece[rest], prepend=-1))
    for voxels in np.split(rest, starts[1:]) if rest.size else []:
        own = indices[voxels]
        yield Small(own.mean(axis=0) @ linear.T, len(own) * voxel_mm3, own)
