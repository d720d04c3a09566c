"""Carried centre lines among what the patient has: cut at organs, led around tumours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nephra_contract.merge import regrid
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess.atlas.lines import Lines, joined, samples
from nephra_postprocess.atlas.registration import Points

#: A stretch beyond an organ that is shorter is let go; a longer one is reached by a bypass.
_WORTH_MM = 25.0
_GRID_MM = 3.0
_ROOM_MM = 45.0
#: How much dearer a way is that grazes an organ.
_GRAZING = 20.0


def lead_around(lines: Lines, patient: LabelMap) -> Lines:
    """What of some lines lies outside of the patient's own structures, and stays whole.

    Ends within a structure are cut off at its surface. Where a line goes in and comes out again,
    as a ureter behind a large tumour may, it is led around.

    Args:
        lines: in the patient's place, RAS+ mm.
        patient: axes along right, front, head.
    """
    if not lines.edges.size:
        return lines
    free = ~_hit(lines.nodes_mm[lines.edges], patient)
    graph = _Graph.of(lines, free)
    bypasses: list[Lines] = []
    for run in range(graph.run_count):
        touching = graph.touching(run)
        for there in touching[1:]:
            here = touching[0]
            if graph.together(here, there) or graph.length_mm(there) < _WORTH_MM:
                continue
            path = _around(lines.nodes_mm[here], lines.nodes_mm[there], patient)
            if path is not None:
                graph.join(here, there)
                bypasses.append(_tube(path, lines, graph.edges_of(run)))
    return joined([lines.only(free & graph.with_longest()), *bypasses])


@dataclass
class _Graph:
    """Pieces of free edges, and runs of blocked ones between them.

    Args:
        lines: all edges.
        free: (E,) which edges lie outside of all structures.
        piece: (N,) for each node its piece of free edges.
        whole: (N,) for each node what hangs together if nothing is blocked.
        run: (N,) for each node its run of blocked edges.
        run_count: how many runs there are.
        merged: which pieces a bypass has joined.
    """

    lines: Lines
    free: NDArray[np.bool_]
    piece: NDArray[np.int32]
    whole: NDArray[np.int32]
    run: NDArray[np.int32]
    run_count: int
    merged: dict[int, int]

    @classmethod
    def of(cls, lines: Lines, free: NDArray[np.bool_]) -> _Graph:
        count, links = len(lines.nodes_mm), lines.links()
        inner = np.zeros(count, dtype=bool)
        inner[lines.edges[~free].ravel()] = True
        inner[lines.edges[free].ravel()] = False
        closed = inner[links].any(axis=1)
        _, piece = _components(count, lines.edges[free], links[~closed])
        _, whole = _components(count, lines.edges, links)
        runs, run = _components(count, lines.edges[~free], links[closed])
        return cls(lines, free, piece, whole, run, runs, {})

    def length_mm(self, node: int) -> float:
        """Length of the free piece that a node is in."""
        own = self.free & (self.piece[self.lines.edges[:, 0]] == self.piece[node])
        return float(self.lines.lengths_mm[own].sum())

    def touching(self, run: int) -> list[int]:
        """Nodes at which a run meets free pieces, one a piece, the longest piece first."""
        blocked = self.lines.edges[self.edges_of(run)]
        shared = np.intersect1d(blocked, self.lines.edges[self.free])
        _, first = np.unique(self.piece[shared], return_index=True)
        return sorted(shared[first].tolist(), key=lambda n: (-self.length_mm(n), n))

    def edges_of(self, run: int) -> NDArray[np.bool_]:
        """(E,) the blocked edges of a run."""
        return np.asarray(~self.free & (self.run[self.lines.edges[:, 0]] == run))

    def together(self, one: int, other: int) -> bool:
        """Whether a way leads from one node to another."""
        return self._root(one) == self._root(other)

    def join(self, one: int, other: int) -> None:
        """Note a bypass between the pieces of two nodes."""
        self.merged[self._root(other)] = self._root(one)

    def with_longest(self) -> NDArray[np.bool_]:
        """(E,) edges joined with the longest free piece of what they belong to."""
        edges = self.lines.edges[:, 0]
        roots = np.array([self._root(n) for n in edges.tolist()], dtype=int)
        kept = np.zeros(len(edges), dtype=bool)
        for body in np.unique(self.whole[edges]):
            own = (self.whole[edges] == body) & self.free
            if own.any():
                lengths = np.bincount(roots[own], self.lines.lengths_mm[own])
                kept |= own & (roots == int(np.argmax(lengths)))
        return kept

    def _root(self, node: int) -> int:
        piece = int(self.piece[node])
        while piece in self.merged:
            piece = self.merged[piece]
        return piece


def _components(count: int, *edges: NDArray[np.intp]) -> tuple[int, NDArray[np.int32]]:
    pairs = np.concatenate(edges)
    ones = np.ones(len(pairs), dtype=np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    found, number = connected_components(graph, directed=False)
    return int(found), number


def _hit(ends_mm: Points, patient: LabelMap) -> NDArray[np.bool_]:
    """(E,) whether segments (E, 2, 3) pass through any of the patient's voxels."""
    if not len(ends_mm):
        return np.zeros(0, dtype=bool)
    back = np.linalg.inv(patient.affine)
    ends = ends_mm @ back[:3, :3].T + back[:3, 3]
    count = min(2 * int(np.ceil(np.abs(ends[:, 1] - ends[:, 0]).max())) + 2, 64)
    index = np.floor(np.round(samples(ends[:, 0], ends[:, 1], count), 6) + 0.5).astype(int)
    within = ((index >= 0) & (index < patient.shape)).all(axis=-1)
    index[~within] = 0
    filled = patient.voxels[tuple(np.moveaxis(index, -1, 0))] != 0
    return np.asarray((filled & within).any(axis=1))


def _around(start_mm: Points, stop_mm: Points, patient: LabelMap) -> Points | None:
    """(M, 3) a short way through what is empty; None if there is none."""
    from skimage.graph import route_through_array

    low = np.minimum(start_mm, stop_mm) - _ROOM_MM
    high = np.maximum(start_mm, stop_mm) + _ROOM_MM
    shape = tuple((np.ceil((high - low) / _GRID_MM).astype(int) + 1).tolist())
    affine = np.diag([_GRID_MM, _GRID_MM, _GRID_MM, 1.0])
    affine[:3, 3] = low
    grid = Volume(np.broadcast_to(np.zeros(1, np.uint8), shape), affine)
    solid = regrid(patient, grid).voxels > 0
    cost = np.where(ndimage.binary_dilation(solid, iterations=2), _GRAZING, 1.0)
    cost[solid] = -1.0
    ends = [tuple(np.rint((p - low) / _GRID_MM).astype(int).tolist()) for p in (start_mm, stop_mm)]
    for end in ends:
        cost[end] = _GRAZING
    try:
        cells, _ = route_through_array(cost, *ends, fully_connected=True, geometric=True)
    except ValueError:
        return None
    between = low + _GRID_MM * np.array(cells[1:-1], dtype=np.float64).reshape(-1, 3)
    raw = np.concatenate([start_mm[None], between, stop_mm[None]])
    for path in (_smoothed(raw), raw):
        if not _hit(np.stack([path[:-1], path[1:]], axis=1), patient).any():
            return path
    return None


def _smoothed(path: Points) -> Points:
    for _ in range(8):
        path = path.copy()
        path[1:-1] = 0.5 * path[1:-1] + 0.25 * (path[:-2] + path[2:])
    return path


def _tube(path: Points, lines: Lines, run: NDArray[np.bool_]) -> Lines:
    """A bypass as wide as what it stands for."""
    edges = np.array(list(pairwise(range(len(path)))), dtype=np.intp).reshape(-1, 2)
    numbers, counts = np.unique(lines.labels[run], return_counts=True)
    label = numbers[np.argmax(counts)]
    radius = float(np.median(lines.radii_mm[run & (lines.labels == label)]))
    return Lines(
        path, edges, np.full(edges.shape, radius), np.full(len(edges), label, dtype=np.uint8)
    )
