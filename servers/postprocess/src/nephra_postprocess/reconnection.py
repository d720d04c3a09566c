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
from nephra_postprocess.bridges import Bridge, Candidates, Gates, find_candidates
from nephra_postprocess.canvas import Canvas
from nephra_postprocess.forest import choose
from nephra_postprocess.fragments import Fragments, Small, find_fragments
from nephra_postprocess.strokes import Box
from nephra_postprocess.structures import Tree
from nephra_postprocess.tubes import End, find_ends

_REPORTED = 100


class TubeParameters(Parameters):
    """What joining tubes is told, whatever the tubes are."""

    max_gap_mm: float = Field(default=25.0, gt=0, le=60, description="Longest gap that is closed.")
    max_angle_deg: float = Field(
        default=75.0,
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
        default=3.0,
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
    min_plausibility: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Least plausibility of a bridge, 0 to 1, judged from gap, direction, calibre, "
        "the length of tube behind its ends, and what else these could be joined to.",
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
            self.min_plausibility,
        )


@dataclass(frozen=True)
class Reconnection:
    """What was done to one tree.

    Args:
        bridges: one dictionary per bridge, for the report.
        alone: one dictionary per fragment left alone, for the report.
        added: per bridge, its label, and a box of the volume with its new voxels.
    """

    bridges: list[dict[str, Any]] = field(default_factory=list)
    alone: list[dict[str, Any]] = field(default_factory=list)
    added: list[tuple[int, Box, NDArray[np.bool_]]] = field(default_factory=list)


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
    fragments, small = find_fragments(patient, tree.numbers, parameters.min_fragment_volume_mm3)
    if fragments.count < 2:
        return Reconnection([], _alone_small(small, patient, tree))
    progress.advance(0.4, f"finding the ends of {tree.name}")
    ends = find_ends(fragments)
    progress.advance(0.7, f"judging the gaps of {tree.name}")
    candidates = find_candidates(fragments, ends, parameters.gates())
    canvas = Canvas(patient, target, tree, fragments, small)
    chosen = choose(fragments.count, candidates.bridges, canvas.passable)
    progress.advance(0.85, f"drawing the bridges of {tree.name}")
    bridges, added = [], []
    for bridge in chosen:
        label, box, new = canvas.paint(bridge)
        bridges.append(_line(bridge, canvas, label, int(new.sum())))
        added.append((label, box, new))
    alone = _alone(fragments, ends, candidates, chosen, canvas, tree)
    return Reconnection(bridges, alone + _alone_small(small, patient, tree), added)


def _line(bridge: Bridge, canvas: Canvas, label: int, voxels: int) -> dict[str, Any]:
    """A bridge as the report says it."""
    path = canvas.paths[bridge]
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return {
        "structure": names.name_of(label),
        "kind": bridge.kind,
        "ends_mm": [_world(p, canvas.patient) for p in (bridge.start_mm, bridge.stop_mm)],
        "length_mm": round(bridge.length_mm, 2),
        "path_mm": round(float(lengths.sum()), 2),
        "around": bridge in canvas.around,
        "radii_mm": [round(r, 2) for r in bridge.radii_mm],
        "voxels": voxels,
        "plausibility": round(bridge.plausibility, 3),
        "cost": round(bridge.cost, 3),
    }


def _world(point_mm: NDArray[np.float64], patient: LabelMap) -> list[float]:
    """A point of the local frame in RAS+ mm, as a report says it."""
    return [round(float(v), 2) for v in point_mm + patient.affine[:3, 3]]


def _alone(
    fragments: Fragments,
    ends: list[End],
    candidates: Candidates,
    chosen: list[Bridge],
    canvas: Canvas,
    tree: Tree,
) -> list[dict[str, Any]]:
    """The fragments that no bridge reaches, but the largest, and why."""
    joined = {p for b in chosen for p in b.pieces}
    blocked = {p for b in canvas.blocked for p in b.pieces}
    wanted = {p for b in candidates.bridges for p in b.pieces}
    volumes = fragments.volumes_mm3()
    largest = int(np.argmax(volumes))
    middles = (
        np.stack(
            [np.bincount(fragments.piece, p, fragments.count) for p in fragments.points_mm.T],
            axis=1,
        )
        / np.bincount(fragments.piece, minlength=fragments.count)[:, None]
    )
    support: dict[int, float] = {}
    for end in ends:
        support[end.piece] = max(support.get(end.piece, 0.0), end.support_mm)
    lines = []
    for piece in np.argsort(-volumes, kind="stable").tolist():
        if piece in joined or piece == largest:
            continue
        reason = candidates.refused.get(piece, "no other piece ends within the longest gap")
        if piece in blocked:
            reason = "blocked: other structures lie in the way, and no short way leads around them"
        elif piece in wanted:
            reason = "more plausible bridges took the ends that it could be joined to"
        lines.append(
            {
                "structure": tree.name,
                "centre_mm": _world(middles[piece], canvas.patient),
                "volume_mm3": round(float(volumes[piece]), 1),
                "length_mm": round(support.get(piece, 0.0), 1),
                "reason": reason,
            }
        )
    return lines


def _alone_small(small: list[Small], patient: LabelMap, tree: Tree) -> list[dict[str, Any]]:
    by_size = sorted(small, key=lambda s: (-s.volume_mm3, s.centre_mm.tolist()))
    return [
        {
            "structure": tree.name,
            "centre_mm": _world(s.centre_mm, patient),
            "volume_mm3": round(s.volume_mm3, 1),
            "reason": "smaller than min_fragment_volume_mm3",
        }
        for s in by_size[:_REPORTED]
    ]
