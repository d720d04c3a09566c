"""Where the tubes of a fragment end, in which direction, and how wide they are there.

Centre lines by level sets of the geodesic distance (Verroust and Lazarus 2000): voxels equally
far from one end of a piece form cross-sections; their connected parts are the nodes of a small
graph whose local maxima are the ends. It costs as much as the tubes have voxels, whatever the
size of the box around them, and knows anisotropic spacing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nephra_postprocess.fragments import Fragments

#: Ends closer to their branching than this many local diameters are bumps of the wall.
_BUMP_DIAMETERS = 0.75
_MIN_LAYER_MM = 1.5


@dataclass(frozen=True)
class End:
    """One end of a tube.

    Args:
        number: of the tip; two readings of one tip bear the same.
        piece: the fragment that it belongs to.
        tip_mm: (3,) middle of the cut, in the crop's local frame.
        outward: (3,) unit direction in which the tube would go on.
        radius_mm: of the circle with the area of its cross-section.
        support_mm: length of tube behind the tip up to its branching or other end.
        index: (3,) a voxel of the tube at the tip.
        close: read from the last few millimetres alone; else from several radii behind.
    """

    number: int
    piece: int
    tip_mm: NDArray[np.float64]
    outward: NDArray[np.float64]
    radius_mm: float
    support_mm: float
    index: NDArray[np.int32]
    close: bool


def find_ends(fragments: Fragments) -> list[End]:
    """All ends of all pieces, each read twice: near its tip, and along several radii behind.

    A blunt end of a wide tube shows its direction only from some way behind; a horn that a
    network has left of a tapering tube only near its tip.
    """
    if fragments.count == 0:
        return []
    some = np.unique(fragments.piece, return_index=True)[1]
    roots = fragments.farthest(fragments.distances_mm(some))
    from_root = fragments.distances_mm(roots)
    from_far = fragments.distances_mm(fragments.farthest(from_root))
    branches = find_branches(fragments, from_root)
    tips = [(b.tip, from_root, b.voxels, b.support_mm) for b in branches]
    for piece, root in enumerate(roots.tolist()):
        own = [b for b in branches if b.piece == piece]
        support_mm = min((b.start_mm for b in own if b.start_mm > 0), default=from_root[own[0].tip])
        tips.append((root, from_far, np.flatnonzero(fragments.piece == piece), float(support_mm)))
    tips.sort(key=lambda t: (int(fragments.piece[t[0]]), t[0]))
    return [
        _end(fragments, number, tip, distance, branch, support, close)
        for number, (tip, distance, branch, support) in enumerate(tips)
        for close in (False, True)
    ]


@dataclass(frozen=True)
class Branch:
    """A tube from its tip down to where it joins another one, or to its piece's root.

    Args:
        piece: the fragment.
        tip: its voxel farthest from the root.
        start_mm: distance from the root of where it joins; 0 for a piece's longest branch.
        support_mm: length without side branches behind the tip.
        voxels: its voxels.
    """

    piece: int
    tip: int
    start_mm: float
    support_mm: float
    voxels: NDArray[np.intp]


@dataclass
class _Growing:
    """A branch while the sweep from the tips to the root goes on."""

    tip: int
    top_mm: float
    nodes: list[int]
    support_mm: float | None = None


def find_branches(fragments: Fragments, from_root_mm: NDArray[np.float64]) -> list[Branch]:
    """Part each piece into its branches by a sweep over the levels of the distance.

    Args:
        fragments: the pieces.
        from_root_mm: (N,) distance of each voxel from the root of its piece.
    """
    levels = _levels(fragments, from_root_mm)
    owner: dict[int, int] = {}
    growing: dict[int, _Growing] = {}
    finished: list[Branch] = []
    for node in levels.order:
        above = sorted({_find(owner, n) for n in levels.above[node]})
        if not above:
            tip = levels.farthest(node, from_root_mm)
            growing[node] = _Growing(tip, float(from_root_mm[tip]), [node])
            owner[node] = node
            continue
        above.sort(key=lambda a: (-growing[a].top_mm, growing[a].tip))
        trunk = growing[above[0]]
        for other in above[1:]:
            side = growing.pop(other)
            owner[other] = above[0]
            length_mm = side.top_mm - levels.start_mm(node)
            if length_mm >= levels.bump_mm(node):
                finished.append(_finish(fragments, levels, side, levels.start_mm(node)))
                trunk.support_mm = trunk.support_mm or trunk.top_mm - levels.start_mm(node)
            trunk.nodes += side.nodes
        trunk.nodes.append(node)
        owner[node] = above[0]
    finished += [_finish(fragments, levels, g, 0.0) for g in growing.values()]
    return sorted(finished, key=lambda b: (b.piece, b.tip))


@dataclass(frozen=True)
class _Levels:
    """Cross-sections of all pieces: connected voxels of one level of the distance.

    Args:
        node: (N,) the cross-section of each voxel.
        height: (nodes,) the level.
        layer_mm: thickness of a level.
        area_mm2: (nodes,).
        above: for each node its neighbours of higher level.
        members: voxels ordered by node; `starts` says where each node's begin.
    """

    node: NDArray[np.int32]
    height: NDArray[np.int32]
    layer_mm: float
    area_mm2: NDArray[np.float64]
    above: list[list[int]]
    members: NDArray[np.intp]
    starts: NDArray[np.intp]

    @property
    def order(self) -> list[int]:
        """Nodes from the tips down."""
        found: list[int] = np.argsort(-self.height, kind="stable").tolist()
        return found

    def voxels(self, nodes: list[int]) -> NDArray[np.intp]:
        """The voxels of some cross-sections, ascending."""
        parts = [self.members[self.starts[n] : self.starts[n + 1]] for n in nodes]
        return np.sort(np.concatenate(parts))

    def farthest(self, node: int, distance_mm: NDArray[np.float64]) -> int:
        """The voxel of a cross-section that is farthest from the root."""
        voxels = self.voxels([node])
        return int(voxels[np.argmax(distance_mm[voxels])])

    def start_mm(self, node: int) -> float:
        """Distance from the root at which a cross-section lies."""
        return float(self.height[node]) * self.layer_mm

    def bump_mm(self, node: int) -> float:
        """Length below which what rises over a cross-section is no branch."""
        diameter_mm = 2 * float(np.sqrt(self.area_mm2[node] / np.pi))
        return max(2 * self.layer_mm, _BUMP_DIAMETERS * diameter_mm)


def _levels(fragments: Fragments, from_root_mm: NDArray[np.float64]) -> _Levels:
    layer_mm = max(_MIN_LAYER_MM, 1.25 * fragments.step_mm)
    level = np.floor(from_root_mm / layer_mm).astype(np.int32)
    graph = fragments.graph
    rows = np.repeat(np.arange(level.size, dtype=np.int32), np.diff(graph.indptr))
    columns = graph.indices
    same = level[rows] == level[columns]
    within = coo_array(
        (np.ones(int(same.sum()), np.int8), (rows[same], columns[same])), shape=graph.shape
    )
    count, node = connected_components(within, directed=False)
    height = np.zeros(count, dtype=np.int32)
    height[node] = level
    lower, upper = node[rows[~same]], node[columns[~same]]
    swapped = height[lower] > height[upper]
    pairs = np.where(swapped, upper, lower), np.where(swapped, lower, upper)
    above: list[list[int]] = [[] for _ in range(count)]
    for low, high in np.unique(np.stack(pairs, axis=1), axis=0).tolist():
        above[low].append(high)
    sizes = np.bincount(node, minlength=count)
    return _Levels(
        node,
        height,
        layer_mm,
        np.asarray(sizes * fragments.voxel_mm3 / layer_mm, dtype=np.float64),
        above,
        np.argsort(node, kind="stable"),
        np.concatenate([[0], np.cumsum(sizes)]),
    )


def _find(owner: dict[int, int], node: int) -> int:
    while owner[node] != node:
        owner[node] = owner[owner[node]]
        node = owner[node]
    return node


def _finish(fragments: Fragments, levels: _Levels, branch: _Growing, start_mm: float) -> Branch:
    support_mm = branch.support_mm or branch.top_mm - start_mm
    voxels = levels.voxels(branch.nodes)
    return Branch(int(fragments.piece[branch.tip]), branch.tip, start_mm, support_mm, voxels)


def _end(
    fragments: Fragments,
    number: int,
    tip: int,
    distance_mm: NDArray[np.float64],
    branch: NDArray[np.intp],
    support_mm: float,
    close: bool,
) -> End:
    """Fit an axis to the cross-sections behind a tip, and cut it where the volume ends."""
    behind = distance_mm[tip] - distance_mm[branch]
    points = fragments.points_mm[branch] - fragments.points_mm[tip]
    layer_mm = max(_MIN_LAYER_MM, 1.25 * fragments.step_mm)
    layers, radii = (3, 2) if close else (6, 4)
    first = behind < layers * layer_mm
    first &= (behind >= 0) & ((points**2).sum(axis=1) < (1.5 * layers * layer_mm) ** 2)
    area_mm2 = max(first.sum(), 1) * fragments.voxel_mm3 / (layers * layer_mm)
    reach_mm = float(np.clip(radii * np.sqrt(area_mm2 / np.pi), 4 * layer_mm, 30.0))
    near = (behind >= 0) & (behind < reach_mm) & ((points**2).sum(axis=1) < (1.5 * reach_mm) ** 2)
    behind, points = behind[near], points[near]
    anchor, outward = _axis(behind, points, layer_mm)
    along = (points - anchor) @ outward
    length_mm = max(-float(along.min()), layer_mm)
    column = (along > -length_mm) & (along <= 0)
    area_mm2 = max(column.sum(), 1) * fragments.voxel_mm3 / length_mm
    beyond_mm = float((along > 0).sum()) * fragments.voxel_mm3 / area_mm2
    return End(
        number,
        int(fragments.piece[tip]),
        fragments.points_mm[tip] + anchor + outward * beyond_mm,
        outward,
        float(np.sqrt(area_mm2 / np.pi)),
        support_mm,
        fragments.indices[tip],
        close,
    )


def _axis(
    behind_mm: NDArray[np.float64], points: NDArray[np.float64], layer_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A point of the axis near the tip and the outward direction, from cross-section centres.

    Cross-sections that the cut has taken a part of lie off the axis; they are left out.
    """
    level = np.floor(behind_mm / layer_mm).astype(int)
    sizes = np.bincount(level)
    sums = np.stack([np.bincount(level, p) for p in points.T], axis=1)[sizes > 0]
    heights = np.flatnonzero(sizes)
    sizes = sizes[heights]
    centres: NDArray[np.float64] = np.asarray(sums / sizes[:, None], dtype=np.float64)
    whole = sizes >= 0.7 * np.median(sizes)
    if whole.sum() < 2:
        whole[:] = True
    if whole.sum() < 2:
        return centres[0], np.array([0.0, 0.0, 1.0])
    anchor = centres[whole][0]
    depth = heights[whole] - heights[whole].mean()
    slope = depth @ (centres[whole] - centres[whole].mean(axis=0))
    norm = float(np.linalg.norm(slope))
    return anchor, -slope / norm if norm > 0 else np.array([0.0, 0.0, 1.0])
