"""Which severed ends may belong together, and how plausible each bridge is.

The odds of each pair of ends come from `plausibility`; what an end's other candidates have for
themselves is held against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nephra_postprocess.tubes.ends import End
from nephra_postprocess.tubes.fragments import Fragments
from nephra_postprocess.tubes.plausibility import odds_of, odds_of_side
from nephra_postprocess.tubes.stones import Stones

Vector = NDArray[np.float64]
#: With blobs in it, a gap may be this many times as long as the longest.
_STONES_REACH = 1.5
#: The longest gap that plausibility was fitted for.
_USUAL_GAP_MM = 25.0


@dataclass(frozen=True)
class Gates:
    """What a bridge has to keep to, whatever else speaks for it.

    Args:
        max_gap_mm: longest gap.
        max_angle_deg: largest angle between an end's direction and the bridge.
        max_side_angle_deg: the same, where the bridge meets the side of another tube.
        min_calibre_ratio: smallest ratio of the narrower to the wider radius.
        min_support_mm: shortest tube behind an end that speaks for its direction.
        min_side_support_mm: the same, where only one end speaks for a bridge.
        min_plausibility: 0..1.
    """

    max_gap_mm: float
    max_angle_deg: float
    max_side_angle_deg: float
    min_calibre_ratio: float
    min_support_mm: float
    min_side_support_mm: float
    min_plausibility: float


@dataclass(frozen=True, eq=False)
class Bridge:
    """A gap that may be closed.

    Args:
        pieces: the two fragments.
        ends: numbers of the ends used: two, or one where it meets a side.
        index: (3,) the voxel of the tube that it leaves.
        start_mm, stop_mm: (3,) the middles of its two cuts, in the volume's local frame.
        roots_mm: (2, 3) middles of the last whole cross-sections behind them.
        leaving, arriving: (3,) unit directions at start and stop, both from start to stop.
        radii_mm: at start and stop.
        odds: of being right, by what is seen at its ends alone.
        plausibility: 0..1, its other candidates considered.
    """

    pieces: tuple[int, int]
    ends: tuple[int, ...]
    index: NDArray[np.int32]
    start_mm: Vector
    stop_mm: Vector
    roots_mm: NDArray[np.float64]
    leaving: Vector
    arriving: Vector
    radii_mm: tuple[float, float]
    odds: float
    plausibility: float = 0.0

    @property
    def cost(self) -> float:
        """Lower is more plausible: minus the logarithm of the plausibility."""
        return round(float(-np.log(max(self.plausibility, 1e-9))), 6)

    @property
    def kind(self) -> str:
        """`end_to_end` or `end_to_side`."""
        return "end_to_end" if len(self.ends) == 2 else "end_to_side"

    @property
    def length_mm(self) -> float:
        """Straight distance between its ends."""
        return float(np.linalg.norm(self.stop_mm - self.start_mm))


@dataclass(frozen=True)
class Candidates:
    """All bridges that keep to the gates, and why others do not.

    Args:
        bridges: cheapest first.
        refused: by piece, at what its best bridge failed, in a word and in a sentence.
    """

    bridges: list[Bridge]
    refused: dict[int, tuple[str, str]]


def find_candidates(
    fragments: Fragments, ends: list[End], gates: Gates, stones: Stones
) -> Candidates:
    """Judge all pairs of near ends, and all ends before a wall."""
    refusals = _Refusals({})
    lengths = fragments.volumes_mm3()
    found = [*_end_to_end(ends, lengths, gates, stones, refusals)]
    found += _end_to_side(fragments, ends, gates, refusals)
    odds_at: dict[int, float] = {}
    for bridge in found:
        for end in bridge.ends:
            odds_at[end] = odds_at.get(end, 0.0) + bridge.odds
    judged = [
        replace(b, plausibility=min(b.odds / (1 + odds_at[e]) for e in b.ends)) for b in found
    ]
    kept = []
    for bridge in judged:
        if bridge.plausibility >= gates.min_plausibility:
            kept.append(bridge)
        else:
            refusals.note(bridge.pieces, "plausibility")
    kept.sort(key=lambda b: (b.cost, b.pieces, b.ends))
    return Candidates(kept, {p: (_REASONS[n][0], _REASONS[n][1]) for p, n in refusals.best.items()})


#: What a bridge may fail at, from what is looked at first to last.
_REASONS = (
    ("direction", "No end or wall within the longest gap lies in the direction of its ends."),
    ("calibre", "The ends that its ends face are of another calibre."),
    ("plausibility", "Too little speaks for its bridges: see min_plausibility."),
)
_RANK = {why: rank for rank, (why, _) in enumerate(_REASONS)}


@dataclass(frozen=True)
class _Refusals:
    """By piece, how far its best candidate came."""

    best: dict[int, int]

    def note(self, pieces: Iterable[int], why: str) -> None:
        """A candidate of some pieces came to a gate, and not through it."""
        for piece in pieces:
            self.best[piece] = max(_RANK[why], self.best.get(piece, 0))


def _end_to_end(
    ends: list[End],
    volumes_mm3: NDArray[np.float64],
    gates: Gates,
    stones: Stones,
    refusals: _Refusals,
) -> Iterator[Bridge]:
    # Who allows longer gaps than usual holds them for more likely.
    scale = min(1.0, _USUAL_GAP_MM / gates.max_gap_mm)
    for a, b in _pairs(ends, gates, stones, refusals):
        one, other = ends[a], ends[b]
        empty_mm = _empty_mm(one, other, gates, stones)
        if empty_mm is None:
            continue
        yield Bridge(
            (one.piece, other.piece), (one.number, other.number), one.index, one.tip_mm,
            other.tip_mm, np.stack([one.anchor_mm, other.anchor_mm]), one.outward, -other.outward,
            (one.radius_mm, other.radius_mm), odds_of(one, other, volumes_mm3, empty_mm * scale),
        )  # fmt: skip


def _pairs(
    ends: list[End], gates: Gates, stones: Stones, refusals: _Refusals
) -> list[tuple[int, int]]:
    """Pairs of near ends that keep to the gates, all looked at in one go."""
    if len(ends) < 2:
        return []
    tips, outward = np.stack([e.tip_mm for e in ends]), np.stack([e.outward for e in ends])
    radii, piece = np.array([e.radius_mm for e in ends]), np.array([e.piece for e in ends])
    blob = np.array([e.piece in stones.pieces for e in ends])
    reach_mm = _STONES_REACH * gates.max_gap_mm if stones.tree is not None else gates.max_gap_mm
    pairs = cKDTree(tips).query_pairs(reach_mm, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    far = np.linalg.norm(tips[b] - tips[a], axis=1) > gates.max_gap_mm
    # Nothing speaks for two blobs, nor for one that is farther away than the longest gap.
    able = (piece[a] != piece[b]) & ~(blob[a] & blob[b]) & ~(far & (blob[a] | blob[b]))
    a, b = a[able], b[able]
    angle_deg = np.maximum(
        _bend_deg(tips[b] - tips[a], outward[a], radii[a]),
        _bend_deg(tips[a] - tips[b], outward[b], radii[b]),
    )
    ratio = np.minimum(radii[a], radii[b]) / np.maximum(radii[a], radii[b])
    facing = angle_deg <= gates.max_angle_deg
    alike = ratio >= gates.min_calibre_ratio
    for why, failed in (("direction", ~facing), ("calibre", facing & ~alike)):
        refusals.note(np.unique(piece[np.concatenate([a[failed], b[failed]])]).tolist(), why)
    kept = facing & alike
    return sorted(zip(a[kept].tolist(), b[kept].tolist(), strict=True))


def _bend_deg(
    ways: NDArray[np.float64], outward: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) angles in degrees by which ways leave their ends' directions.

    Across a short gap in a wide tube the line between two tips says little about direction:
    a sideways step of a radius is forgiven.
    """
    along = (ways * outward).sum(axis=1)
    sideways = np.linalg.norm(ways - along[:, None] * outward, axis=1)
    sideways = np.maximum(sideways - radii, 0.0)
    return np.asarray(np.round(np.degrees(np.arctan2(sideways, along + radii)), 6))


def _empty_mm(one: End, other: End, gates: Gates, stones: Stones) -> float | None:
    """The gap between two ends; less the blobs in it, if it is too long without; else None."""
    gap_mm = float(np.linalg.norm(other.tip_mm - one.tip_mm))
    if gap_mm > gates.max_gap_mm:
        radius_mm = min(one.radius_mm, other.radius_mm)
        gap_mm -= stones.covered_mm(one.tip_mm, other.tip_mm, radius_mm)
    return gap_mm if gap_mm <= gates.max_gap_mm else None


def _end_to_side(
    fragments: Fragments, ends: list[End], gates: Gates, refusals: _Refusals
) -> Iterator[Bridge]:
    """Bridges from an end to the wall of a larger piece that it points at."""
    able = [e for e in ends if e.support_mm >= gates.min_side_support_mm]
    if fragments.count < 2 or not able:
        return
    volumes = fragments.volumes_mm3()
    tree = cKDTree(fragments.centres_mm)
    for end in able:
        near = np.sort(tree.query_ball_point(end.tip_mm, gates.max_gap_mm))
        pieces = fragments.cell_piece[near]
        for piece in np.unique(pieces[pieces != end.piece]).tolist():
            if volumes[piece] < volumes[end.piece] * 0.5:
                continue
            bridge = _landing(end, piece, fragments, near[pieces == piece], gates)
            if bridge is None:
                refusals.note((end.piece,), "direction")
            else:
                yield bridge


def _landing(
    end: End, piece: int, fragments: Fragments, cells: NDArray[np.intp], gates: Gates
) -> Bridge | None:
    """The bridge from an end to the wall of another piece, if it keeps to the gates."""
    ways = fragments.centres_mm[cells] - end.tip_mm
    lengths = np.linalg.norm(ways, axis=1)
    cosines = (ways @ end.outward) / np.maximum(lengths, 1e-9)
    angles_deg = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    costs = np.round(lengths * (1 + angles_deg / 30), 6)
    costs[angles_deg > gates.max_side_angle_deg] = np.inf
    best = int(np.argmin(costs))
    gap_mm = float(lengths[best])
    if not np.isfinite(costs[best]) or end.support_mm < max(gap_mm, 4 * end.radius_mm):
        return None
    target = fragments.centres_mm[cells[best]]
    if _width_mm(target, fragments, cells, end.radius_mm) < gates.min_calibre_ratio * end.radius_mm:
        return None
    odds = odds_of_side(end, target)
    return Bridge(
        (end.piece, piece), (end.number,), end.index, end.tip_mm, target,
        np.stack([end.anchor_mm, target]), end.outward, ways[best] / max(gap_mm, 1e-9),
        (end.radius_mm, end.radius_mm), odds,
    )  # fmt: skip


def _width_mm(
    target: Vector, fragments: Fragments, cells: NDArray[np.intp], radius_mm: float
) -> float:
    """Radius of a tube with as much volume in it as lies within 2 radii of the target."""
    reach_mm = max(2 * radius_mm, 2 * fragments.step_mm)
    inside = np.linalg.norm(fragments.centres_mm[cells] - target, axis=1) <= reach_mm
    volume_mm3 = float(fragments.sizes[cells[inside]].sum()) * fragments.voxel_mm3
    return float(np.sqrt(volume_mm3 / (2 * reach_mm) / np.pi))
