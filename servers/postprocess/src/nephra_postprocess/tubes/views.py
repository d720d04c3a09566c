"""What lies behind the tip of a branch: the voxels of a few diameters of tube."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from nephra_postprocess.tubes.branches import Tip
from nephra_postprocess.tubes.fragments import Fragments

_NEAREST_MM, _LONGEST_MM = 8.0, 45.0
#: A tube ends where its area becomes this many times what it was.
_OPENS = 2.0


@dataclass(frozen=True)
class View:
    """What lies behind a tip: (n,) voxels, (n, 3) their places, (n,) their distance in mm."""

    voxels: NDArray[np.intp]
    points: NDArray[np.float64]
    behind: NDArray[np.float64]
    reach_mm: float
    radius_mm: float


class Window:
    """Finds the voxels behind a tip without a look at all others."""

    def __init__(self, fragments: Fragments) -> None:
        self.fragments = fragments
        self.tree = cKDTree(fragments.centres_mm)
        self.order = np.argsort(fragments.cell, kind="stable")
        self.starts = np.concatenate([[0], np.cumsum(fragments.sizes)])

    def behind(self, tip: Tip) -> View:
        """About four radii of tube behind a tip."""
        reach_mm = max(_NEAREST_MM, 3 * self.fragments.step_mm)
        while True:
            view = self._within(tip, reach_mm)
            wanted = min(max(4.0 * view.radius_mm + 3.0, reach_mm), _LONGEST_MM)
            if wanted <= 1.15 * reach_mm:
                return view
            reach_mm = wanted

    def _within(self, tip: Tip, reach_mm: float) -> View:
        parts = self.fragments
        near = np.sort(self.tree.query_ball_point(parts.centres_mm[tip.cell], reach_mm + 1.0))
        near = near[parts.cell_piece[near] == tip.piece]
        distance = _local_distances(parts.graph, near, tip.cell, reach_mm)
        reached = np.isfinite(distance)
        near, distance = near[reached], distance[reached]
        sizes = parts.sizes[near]
        own = distance <= _stub_mm(distance, sizes * parts.voxel_mm3, parts.step_mm)
        near, distance, sizes = near[own], distance[own], sizes[own]
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        voxels = self.order[np.repeat(self.starts[near], sizes) + offsets]
        volume_mm3 = voxels.size * parts.voxel_mm3
        length_mm = max(float(distance.max()), parts.step_mm) + 0.5 * parts.step_mm
        radius_mm = float(np.sqrt(volume_mm3 / length_mm / np.pi))
        return View(
            voxels, parts.points_mm[voxels], np.repeat(distance, sizes), reach_mm, radius_mm
        )


def _stub_mm(
    distance: NDArray[np.float64], volumes_mm3: NDArray[np.float64], step_mm: float
) -> float:
    """How far a tube goes before it opens into a much wider one; infinite if it does not.

    What is longer than wide, and of even calibre, is a tube; the corner or horn that a distance
    grows from is not.
    """
    layer_mm = max(1.5, step_mm)
    layers = np.bincount(np.floor(distance / layer_mm).astype(int), volumes_mm3) / layer_mm
    for n in range(2, len(layers) - 1):
        length_mm = (n + 1) * layer_mm
        usual = float(layers[1 : n + 1].mean())
        long = length_mm >= max(5.0, 2 * float(np.sqrt(usual / np.pi)))
        even = layers[n] <= 1.35 * usual
        if long and even and float(layers[n + 1 : n + 3].mean()) > _OPENS * usual:
            return float(length_mm)
    return float("inf")


def _local_distances(
    graph: csr_array, near: NDArray[np.intp], source: int, reach_mm: float
) -> NDArray[np.float64]:
    """(near,) geodesic distance in mm to a cell, through those near it only."""
    starts, stops = graph.indptr[near], graph.indptr[near + 1]
    sizes = stops - starts
    rows = np.repeat(np.arange(near.size), sizes)
    at = (
        np.repeat(starts, sizes)
        + np.arange(sizes.sum())
        - np.repeat(np.cumsum(sizes) - sizes, sizes)
    )
    columns = np.searchsorted(near, graph.indices[at])
    inside = columns < near.size
    inside[inside] = near[columns[inside]] == graph.indices[at[inside]]
    ends = np.cumsum(np.bincount(rows[inside], minlength=near.size))
    small = csr_array(
        (graph.data[at[inside]], columns[inside], np.concatenate([[0], ends])),
        shape=(near.size, near.size),
    )
    start = int(np.searchsorted(near, source))
    return np.asarray(dijkstra(small, directed=False, indices=start, limit=reach_mm))
