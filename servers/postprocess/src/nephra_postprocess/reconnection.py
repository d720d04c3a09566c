"""Severed tubes rejoined: fragments, their ends, the plausible bridges, drawn and reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.operation import Parameters
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_postprocess.bridges import Bridge, Gates, choose, find_candidates
from nephra_postprocess.fragments import Fragments, Small, find_fragments
from nephra_postprocess.region import box_of, compact
from nephra_postprocess.strokes import draw, path_mm
from nephra_postprocess.structures import Tree
from nephra_postprocess.tubes import End, find_ends

#: Groups that a bridge may run through: what merging would paint over, too.
_SOFT_GROUPS = ("fat", "organ", "muscle", "kidney")
#: A path is blocked if more of its centre line than this lies in what it must not enter.
_BLOCKED_SHARE = 0.0
_REPORTED = 100


class TubeParameters(Parameters):
    """What joining tubes is told, whatever the tubes are."""

    max_gap_mm: float = Field(default=20.0, gt=0, le=60, description="Longest gap that is closed.")
    max_angle_deg: float = Field(
        default=45.0,
        gt=0,
        le=90,
        description="Largest bend between an end's direction and its bridge.",
    )
    max_side_angle_deg: float = Field(
        default=30.0,
        gt=0,
        le=90,
        description="The same, where a bridge meets the side of another tube.",
    )
    min_calibre_ratio: float = Field(
        default=0.4, gt=0, le=1, description="Smallest ratio of the two radii that a bridge joins."
    )
    min_support_mm: float = Field(
        default=5.0,
        ge=0,
        le=50,
        description="Shortest tube behind an end that speaks for a direction.",
    )
    min_side_support_mm: float = Field(
        default=20.0,
        ge=0,
        le=100,
        description="The same, where a bridge meets the side of another tube.",
    )
    min_fragment_volume_mm3: float = Field(
        default=30.0,
        ge=0,
        description="Pieces below this volume are taken for noise and left alone.",
    )

    def gates(self) -> Gates:
        """The part of it that judges bridges."""
        return Gates(
            self.max_gap_mm,
            self.max_angle_deg,
            self.max_side_angle_deg,
            self.min_calibre_ratio,
            self.min_support_mm,
            self.min_side_support_mm,
        )


@dataclass(frozen=True)
class Reconnection:
    """What was done to one tree.

    Args:
        bridges: one dictionary per bridge, for the report.
        alone: one dictionary per fragment left alone, for the report.
    """

    bridges: list[dict[str, Any]] = field(default_factory=list)
    alone: list[dict[str, Any]] = field(default_factory=list)


def reconnect(
    patient: LabelMap,
    target: NDArray[Any],
    tree: Tree,
    parameters: TubeParameters,
    progress: Progress,
) -> Reconnection:
    """Join the severed tubes of one tree.

    Args:
        patient: axes along right, front, head; what is there.
        target: (X, Y, Z) voxels of the same grid, written into.
        tree: its labels; at least one is present.
        parameters: the gates.
        progress: of this tree.
    """
    progress.advance(0.0, f"finding the pieces of {tree.name}")
    box = box_of(patient, tree.numbers, 5.0)
    if box is None:
        return Reconnection()
    crop = compact(patient, box)
    linear = crop.affine[:3, :3]
    fragments, small = find_fragments(
        crop.mask(tree.numbers), linear, parameters.min_fragment_volume_mm3
    )
    if fragments.count < 2:
        return Reconnection([], _alone_small(small, crop, tree))
    progress.advance(0.3, f"finding the ends of {tree.name}")
    ends = find_ends(fragments)
    progress.advance(0.6, f"judging the gaps of {tree.name}")
    candidates = find_candidates(fragments, ends, parameters.gates())
    canvas = _Canvas(crop, target[box], tree)
    chosen = choose(fragments.count, candidates, canvas.passable)
    progress.advance(0.8, f"drawing the bridges of {tree.name}")
    bridges = [canvas.paint(b) for b in chosen]
    alone = _alone(fragments, ends, candidates, chosen, crop, tree)
    return Reconnection(bridges, alone + _alone_small(small, crop, tree))


class _Canvas:
    """Where bridges are drawn, and what they must not enter."""

    def __init__(self, crop: LabelMap, target: NDArray[Any], tree: Tree) -> None:
        self.crop = crop
        self.target = target
        self.tree = tree
        self.linear = crop.affine[:3, :3]
        self.step_mm = float(min(crop.spacing_mm))
        soft = np.zeros(256, dtype=bool)
        soft[[0, *(n for g in _SOFT_GROUPS for n in names.group(g))]] = True
        self.soft = soft
        self.open = soft.copy()
        self.open[list(tree.numbers)] = True

    def passable(self, bridge: Bridge) -> bool:
        """Whether the centre line keeps out of what must not be painted over."""
        path = path_mm(bridge, self.step_mm)
        index = np.floor(np.round(path @ np.linalg.inv(self.linear).T, 6) + 0.5).astype(int)
        index = np.clip(index, 0, np.array(self.crop.shape) - 1)
        blocked = ~self.open[self.crop.voxels[tuple(index.T)]]
        return bool(blocked.mean() <= _BLOCKED_SHARE)

    def paint(self, bridge: Bridge) -> dict[str, Any]:
        """Draw a bridge with its first end's label; gives its line of the report."""
        path = path_mm(bridge, self.step_mm)
        box, inside = draw(path, bridge.radii_mm, self.linear, self.crop.shape)
        new = inside & self.soft[self.crop.voxels[box]]
        label = self.crop.voxels[tuple(bridge.index)]
        self.target[box][new] = label
        lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
        return {
            "structure": names.name_of(int(label)),
            "kind": bridge.kind,
            "ends_mm": [_world(bridge.start_mm, self.crop), _world(bridge.stop_mm, self.crop)],
            "length_mm": round(float(lengths.sum()), 2),
            "radii_mm": [round(r, 2) for r in bridge.radii_mm],
            "voxels": int(new.sum()),
            "cost": round(bridge.cost, 3),
        }


def _world(point_mm: NDArray[np.float64], crop: LabelMap) -> list[float]:
    """A point of the local frame in RAS+ mm, as a report says it."""
    return [round(float(v), 2) for v in point_mm + crop.affine[:3, 3]]


def _alone(
    fragments: Fragments,
    ends: list[End],
    candidates: list[Bridge],
    chosen: list[Bridge],
    crop: LabelMap,
    tree: Tree,
) -> list[dict[str, Any]]:
    """The fragments that no bridge reaches, but the largest, and why."""
    joined = {p for b in chosen for p in b.pieces}
    wanted = {p for b in candidates for p in b.pieces}
    volumes = fragments.volumes_mm3()
    largest = int(np.argmax(volumes))
    lines = []
    for piece in np.argsort(-volumes, kind="stable").tolist():
        if piece in joined or piece == largest:
            continue
        support = max(e.support_mm for e in ends if e.piece == piece)
        where = fragments.points_mm[fragments.piece == piece].mean(axis=0)
        reason = "no end faces another piece within gap, direction and calibre"
        if piece in wanted:
            reason = "the paths to other pieces are blocked, or better ones took their ends"
        lines.append(
            {
                "structure": tree.name,
                "centre_mm": _world(where, crop),
                "volume_mm3": round(float(volumes[piece]), 1),
                "length_mm": round(support, 1),
                "reason": reason,
            }
        )
    return lines


def _alone_small(small: list[Small], crop: LabelMap, tree: Tree) -> list[dict[str, Any]]:
    by_size = sorted(small, key=lambda s: (-s.volume_mm3, s.centre_mm.tolist()))
    return [
        {
            "structure": tree.name,
            "centre_mm": _world(s.centre_mm, crop),
            "volume_mm3": round(s.volume_mm3, 1),
            "reason": "smaller than min_fragment_volume_mm3",
        }
        for s in by_size[:_REPORTED]
    ]
