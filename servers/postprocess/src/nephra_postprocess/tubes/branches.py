"""The branches of each fragment, and the tips at which they end.

Level sets of the geodesic distance (Verroust and Lazarus 2000): cells equally far from one end of
a piece form cross-sections; their connected parts are the nodes of a small graph whose local
maxima are the tips. It costs as much as the tubes have voxels, whatever the size of the volume,
and knows anisotropic spacing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nephra_postprocess.tubes.fragments import Fragments

#: What rises over a cross-section is a branch if it is longer than this many diameters of the
#: cross-section, or than this many of its own; else it is a bump of the wall.
_BUMP_DIAMETERS = 0.5
_OWN_DIAMETERS = 0.6
_BUMP_MM = 3.0
_MIN_LAYER_MM = 1.5


@dataclass(frozen=True)
class Tip:
    """Where a branch ends.

    Args:
        piece: the fragment.
        cell: the branch's cell that is farthest from the piece's root.
        support_mm: length without side branches behind it.
    """

    piece: int
    cell: int
    support_mm: float


def find_tips(fragments: Fragments) -> list[Tip]:
    """All tips of all pieces, each piece's root among them."""
    if fragments.count == 0:
        return []
    some = np.unique(fragments.cell_piece, return_index=True)[1]
    roots = fragments.farthest(fragments.distances_mm(some))
    from_root = fragments.distances_mm(roots)
    branches = _find_branches(fragments, from_root)
    tips = [Tip(b.piece, b.tip, b.support_mm) for b in branches]
    first_fork = np.full(fragments.count, np.inf)
    longest = np.zeros(fragments.count)
    for branch in branches:
        if branch.start_mm > 0:
            first_fork[branch.piece] = min(first_fork[branch.piece], branch.start_mm)
        longest[branch.piece] = max(longest[branch.piece], from_root[branch.tip])
    support = np.minimum(first_fork, longest).tolist()
    tips += [Tip(n, int(root), support[n]) for n, root in enumerate(roots)]
    return sorted(tips, key=lambda t: (t.piece, t.cell))


@dataclass(frozen=True)
class _Branch:
    """A tube from its tip down to where it joins another one, or to its piece's root.

    Args:
        piece: the fragment.
        tip: its cell farthest from the root.
        start_mm: distance from the root of where it joins; 0 for a piece's longest branch.
        support_mm: length without side branches behind the tip.
    """

    piece: int
    tip: int
    start_mm: float
    support_mm: float


@dataclass
class _Growing:
    """A branch while the sweep from the tips to the root goes on."""

    tip: int
    top_mm: float
    volume_mm3: float
    support_mm: float | None = None


def _find_branches(fragments: Fragments, from_root_mm: NDArray[np.float64]) -> list[_Branch]:
    """Part each piece into its branches by a sweep over the levels of the distance."""
    levels = _levels(fragments, from_root_mm)
    owner: dict[int, int] = {}
    growing: dict[int, _Growing] = {}
    finished: list[_Branch] = []
    for node in levels.order:
        start_mm, volume_mm3 = levels.start_mm(node), float(levels.volume_mm3[node])
        above = sorted({_find(owner, n) for n in levels.above[node]})
        owner[node] = node
        if not above:
            tip = levels.farthest(node, from_root_mm)
            growing[node] = _Growing(tip, float(from_root_mm[tip]), volume_mm3)
            continue
        above.sort(key=lambda a: (-growing[a].top_mm, growing[a].tip))
        trunk = growing[above[0]]
        owner[node] = above[0]
        for other in above[1:]:
            side = growing.pop(other)
            owner[other] = above[0]
            if side.top_mm - start_mm >= levels.bump_mm(node, side, start_mm):
                finished.append(_finish(fragments, side, start_mm))
                trunk.support_mm = trunk.support_mm or trunk.top_mm - start_mm
            trunk.volume_mm3 += side.volume_mm3
        trunk.volume_mm3 += volume_mm3
    finished += [_finish(fragments, g, 0.0) for g in growing.values()]
    return sorted(finished, key=lambda b: (b.piece, b.tip))


@dataclass(frozen=True)
class _Levels:
    """Cross-sections of all pieces: connected cells of one level of the distance.

    Args:
        height: (nodes,) the level.
        layer_mm: thickness of a level.
        volume_mm3: (nodes,).
        above: for each node its neighbours of higher level.
        members: cells ordered by node; `starts` says where each node's begin.
    """

    height: NDArray[np.int32]
    layer_mm: float
    volume_mm3: NDArray[np.float64]
    above: list[list[int]]
    members: NDArray[np.intp]
    starts: NDArray[np.intp]

    @property
    def order(self) -> list[int]:
        """Nodes from the tips down."""
        found: list[int] = np.argsort(-self.height, kind="stable").tolist()
        return found

    def farthest(self, node: int, distance_mm: NDArray[np.float64]) -> int:
        """The cell of a cross-section that is farthest from the root."""
        cells = np.sort(self.members[self.starts[node] : self.starts[node + 1]])
        return int(cells[np.argmax(distance_mm[cells])])

    def start_mm(self, node: int) -> float:
        """Distance from the root at which a cross-section lies."""
        return float(self.height[node]) * self.layer_mm

    def bump_mm(self, node: int, side: _Growing, start_mm: float) -> float:
        """Length below which what rises over a cross-section is no branch."""
        length_mm = max(side.top_mm - start_mm, self.layer_mm)
        own_mm = 2 * float(np.sqrt(side.volume_mm3 / length_mm / np.pi))
        wide_mm = 2 * float(np.sqrt(self.volume_mm3[node] / self.layer_mm / np.pi))
        least_mm = max(self.layer_mm, _BUMP_MM)
        return max(least_mm, min(_BUMP_DIAMETERS * wide_mm, _OWN_DIAMETERS * own_mm))


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
    for pair in np.unique(pairs[0].astype(np.int64) * count + pairs[1]).tolist():
        above[pair // count].append(pair % count)
    return _Levels(
        height,
        layer_mm,
        np.asarray(np.bincount(node, fragments.sizes * fragments.voxel_mm3, count), np.float64),
        above,
        np.argsort(node, kind="stable"),
        np.concatenate([[0], np.cumsum(np.bincount(node, minlength=count))]),
    )


def _find(owner: dict[int, int], node: int) -> int:
    while owner[node] != node:
        owner[node] = owner[owner[node]]
        node = owner[node]
    return node


def _finish(fragments: Fragments, branch: _Growing, start_mm: float) -> _Branch:
    support_mm = branch.support_mm or branch.top_mm - start_mm
    piece = int(fragments.cell_piece[branch.tip])
    return _Branch(piece, branch.tip, start_mm, support_mm)
