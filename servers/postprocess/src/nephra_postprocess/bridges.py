"""Which severed ends belong together: candidates within gates, then a spanning forest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nephra_postprocess.fragments import Fragments
from nephra_postprocess.tubes import End

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Gates:
    """What a bridge has to keep to.

    Args:
        max_gap_mm: longest gap.
        max_angle_deg: largest angle between an end's direction and the bridge.
        max_side_angle_deg: the same, where the bridge meets the side of another tube.
        min_calibre_ratio: smallest ratio of the narrower to the wider radius.
        min_support_mm: shortest tube behind an end that speaks for its direction.
        min_side_support_mm: the same, where only one end speaks for a bridge.
    """

    max_gap_mm: float
    max_angle_deg: float
    max_side_angle_deg: float
    min_calibre_ratio: float
    min_support_mm: float
    min_side_support_mm: float


@dataclass(frozen=True, eq=False)
class Bridge:
    """A gap that may be closed.

    Args:
        pieces: the two fragments.
        ends: numbers of the tips used: two, or one where it meets a side.
        index: (3,) the voxel of the tube that it leaves.
        start_mm, stop_mm: (3,) its two ends in the crop's local frame.
        leaving, arriving: (3,) unit directions at start and stop, both from start to stop.
        radii_mm: at start and stop.
        cost: lower is more plausible.
    """

    pieces: tuple[int, int]
    ends: tuple[int, ...]
    index: NDArray[np.int32]
    start_mm: Vector
    stop_mm: Vector
    leaving: Vector
    arriving: Vector
    radii_mm: tuple[float, float]
    cost: float

    @property
    def kind(self) -> str:
        """`end_to_end` or `end_to_side`."""
        return "end_to_end" if len(self.ends) == 2 else "end_to_side"

    @property
    def length_mm(self) -> float:
        """Straight distance between its ends."""
        return float(np.linalg.norm(self.stop_mm - self.start_mm))


def find_candidates(fragments: Fragments, ends: list[End], gates: Gates) -> list[Bridge]:
    """All bridges that keep to the gates, cheapest first."""
    found = [*_end_to_end(ends, gates), *_end_to_side(fragments, ends, gates)]
    return sorted(found, key=lambda b: (b.cost, b.pieces, b.ends))


def choose(
    pieces: int, candidates: Iterable[Bridge], passable: Callable[[Bridge], bool]
) -> list[Bridge]:
    """The minimum spanning forest over the fragments, each end used once at most.

    Args:
        pieces: number of fragments.
        candidates: bridges, cheapest first.
        passable: whether a bridge can be drawn; asked only for those that would be chosen.
    """
    chosen: list[Bridge] = []
    left = list(candidates)
    while True:
        graph: nx.Graph[int] = nx.Graph()
        graph.add_nodes_from(range(pieces))
        joined = nx.utils.UnionFind(range(pieces))
        for bridge in chosen:
            joined.union(*bridge.pieces)
        used = {e for b in chosen for e in b.ends}
        left = [b for b in left if joined[b.pieces[0]] != joined[b.pieces[1]]]
        left = [b for b in left if not used & set(b.ends)]
        for bridge in left:
            edge = (joined[bridge.pieces[0]], joined[bridge.pieces[1]])
            if not graph.has_edge(*edge):
                graph.add_edge(*edge, weight=bridge.cost, bridge=bridge)
        forest = nx.minimum_spanning_edges(graph, data=True)
        wanted = sorted((e[2]["bridge"] for e in forest), key=lambda b: (b.cost, b.pieces, b.ends))
        if not wanted:
            return sorted(chosen, key=lambda b: (b.cost, b.pieces, b.ends))
        for bridge in wanted:
            if used & set(bridge.ends):
                continue
            left.remove(bridge)
            if passable(bridge):
                chosen.append(bridge)
                used |= set(bridge.ends)


def _end_to_end(ends: list[End], gates: Gates) -> list[Bridge]:
    if len(ends) < 2:
        return []
    tips = np.stack([e.tip_mm for e in ends])
    pairs = cKDTree(tips).query_pairs(gates.max_gap_mm, output_type="ndarray")
    found = (_match(a, b, ends, gates) for a, b in pairs.tolist())
    return [b for b in found if b is not None]


def _match(a: int, b: int, ends: list[End], gates: Gates) -> Bridge | None:
    """The bridge between two ends, if it keeps to the gates."""
    one, other = ends[a], ends[b]
    if one.piece == other.piece:
        return None
    ratio = min(one.radius_mm, other.radius_mm) / max(one.radius_mm, other.radius_mm)
    angle_deg = max(_bend(one, other.tip_mm), _bend(other, one.tip_mm))
    facing_deg = _angle(one.outward, -other.outward)
    if ratio < gates.min_calibre_ratio or angle_deg > gates.max_angle_deg:
        return None
    if facing_deg > 1.5 * gates.max_angle_deg:
        return None
    gap_mm = float(np.linalg.norm(other.tip_mm - one.tip_mm))
    support_mm = min(one.support_mm, other.support_mm)
    if support_mm < max(gates.min_support_mm, 0.5 * gap_mm):
        return None
    cost = gap_mm * (1 + angle_deg / 45 + facing_deg / 90) + 4 * (1 / ratio - 1)
    return Bridge(
        (one.piece, other.piece), (one.number, other.number), one.index,
        one.tip_mm, other.tip_mm, one.outward, -other.outward,
        (one.radius_mm, other.radius_mm), round(cost, 6),
    )  # fmt: skip


def _end_to_side(fragments: Fragments, ends: list[End], gates: Gates) -> list[Bridge]:
    if fragments.count < 2:
        return []
    tree = cKDTree(fragments.points_mm)
    found = []
    for end in ends:
        if end.support_mm < gates.min_side_support_mm:
            continue
        near = np.sort(tree.query_ball_point(end.tip_mm, gates.max_gap_mm))
        others = near[fragments.piece[near] != end.piece] if near.size else near
        for piece in np.unique(fragments.piece[others]).tolist():
            there = others[fragments.piece[others] == piece]
            bridge = _landing(end, piece, fragments, there, gates)
            if bridge is not None:
                found.append(bridge)
    return found


def _landing(
    end: End, piece: int, fragments: Fragments, voxels: NDArray[np.intp], gates: Gates
) -> Bridge | None:
    """The bridge from an end to the wall of another piece, if it keeps to the gates."""
    ways = fragments.points_mm[voxels] - end.tip_mm
    lengths = np.linalg.norm(ways, axis=1)
    cosines = (ways @ end.outward) / np.maximum(lengths, 1e-9)
    angles_deg = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    costs = np.round(lengths * (1 + angles_deg / 30), 6)
    costs[angles_deg > gates.max_side_angle_deg] = np.inf
    best = int(np.argmin(costs))
    gap_mm = float(lengths[best])
    if not np.isfinite(costs[best]) or end.support_mm < max(gap_mm, 2 * end.radius_mm):
        return None
    target = fragments.points_mm[voxels[best]]
    width_mm = _width_mm(target, fragments, voxels, end.radius_mm)
    if width_mm < gates.min_calibre_ratio * end.radius_mm:
        return None
    direction = ways[best] / max(gap_mm, 1e-9)
    return Bridge(
        (end.piece, piece), (end.number,), end.index, end.tip_mm, target, end.outward, direction,
        (end.radius_mm, end.radius_mm), round(float(costs[best]) * 1.3 + 2.0, 6),
    )  # fmt: skip


def _width_mm(
    target: Vector, fragments: Fragments, voxels: NDArray[np.intp], radius_mm: float
) -> float:
    """Radius of the ball with as much tube in it as lies within 2 radii of the target."""
    reach_mm = 2 * radius_mm
    inside = np.linalg.norm(fragments.points_mm[voxels] - target, axis=1) <= reach_mm
    volume_mm3 = float(inside.sum()) * fragments.voxel_mm3
    return float(np.sqrt(volume_mm3 / (2 * reach_mm) / np.pi))


def _bend(end: End, target_mm: Vector) -> float:
    """Angle in degrees by which a bridge leaves an end's direction.

    Across a short gap in a wide tube the line between two tips says little about direction:
    a sideways step of half a radius is forgiven.
    """
    way = target_mm - end.tip_mm
    along = float(way @ end.outward)
    sideways = float(np.linalg.norm(way - along * end.outward))
    sideways = max(sideways - 0.5 * end.radius_mm, 0.0)
    return float(np.degrees(np.arctan2(sideways, along + 0.25 * end.radius_mm)))


def _angle(a: Vector, b: Vector) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))
