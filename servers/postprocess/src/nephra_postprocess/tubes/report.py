"""What was joined, and what was left alone and why, as the answer says it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap
from nephra_postprocess.structures import Tree
from nephra_postprocess.tubes.bridges import Bridge, Candidates
from nephra_postprocess.tubes.canvas import Canvas, Stroke
from nephra_postprocess.tubes.ends import End
from nephra_postprocess.tubes.fragments import Fragments, Small

#: Fragments of each kind that are listed, the largest first.
_LISTED = 100


def describe_bridge(bridge: Bridge, stroke: Stroke, canvas: Canvas) -> dict[str, Any]:
    """A bridge: where, how long and wide, how plausible, and the voxels that it added."""
    lengths = np.linalg.norm(np.diff(canvas.paths[bridge], axis=0), axis=1)
    return {
        "structure": names.name_of(stroke.label),
        "kind": bridge.kind,
        "ends_mm": [_world(p, canvas.patient) for p in (bridge.start_mm, bridge.stop_mm)],
        "length_mm": round(bridge.length_mm, 2),
        "path_mm": round(float(lengths.sum()), 2),
        "around": bridge in canvas.around,
        "radii_mm": [round(r, 2) for r in bridge.radii_mm],
        "plausibility": round(bridge.plausibility, 3),
        "cost": round(bridge.cost, 3),
        "voxels": int(stroke.new.sum()),
    }


def describe_tree(
    fragments: Fragments,
    ends: list[End],
    candidates: Candidates,
    chosen: list[Bridge],
    canvas: Canvas,
    tree: Tree,
) -> list[dict[str, Any]]:
    """The fragments that no bridge reaches, but the largest, and why."""
    joined = {p for b in chosen for p in b.pieces}
    volumes = fragments.volumes_mm3()
    order = np.argsort(-volumes, kind="stable").tolist()
    alone = [p for p in order[1:] if p not in joined][:_LISTED]
    blocked = {p for b in canvas.blocked for p in b.pieces}
    wanted = {p for b in candidates.bridges for p in b.pieces}
    middles = fragments.middles_mm()
    support: dict[int, float] = {}
    for end in ends:
        support[end.piece] = max(support.get(end.piece, 0.0), end.support_mm)
    lines = []
    for piece in alone:
        why, reason = "gap", "No other piece ends within the longest gap."
        if piece in blocked:
            why = "blocked"
            reason = "Its way is blocked by other structures, and no short one leads around them."
        elif piece in canvas.blobs:
            why, reason = "noise", "It is a blob that not both sides of a gap support."
        elif piece not in support:
            why, reason = "support", "It is too short to speak for a direction: see min_support_mm."
        elif piece in wanted:
            why, reason = (
                "taken",
                "More plausible bridges took the ends that it could be joined to.",
            )
        elif piece in candidates.refused:
            why, reason = candidates.refused[piece]
        lines.append(
            {
                "structure": tree.name,
                "centre_mm": _world(middles[piece], canvas.patient),
                "volume_mm3": round(float(volumes[piece]), 1),
                "length_mm": round(support.get(piece, 0.0), 1),
                "why": why,
                "reason": reason,
            }
        )
    return lines


def describe_small(small: list[Small], patient: LabelMap, tree: Tree) -> list[dict[str, Any]]:
    """The pieces that are taken for noise, the largest first."""
    by_size = sorted(small, key=lambda s: (-s.volume_mm3, s.centre_mm.tolist()))
    return [
        {
            "structure": tree.name,
            "centre_mm": _world(s.centre_mm, patient),
            "volume_mm3": round(s.volume_mm3, 1),
            "why": "noise",
            "reason": "Its volume is smaller than min_fragment_volume_mm3.",
        }
        for s in by_size[:_LISTED]
    ]


def _world(point_mm: NDArray[np.float64], patient: LabelMap) -> list[float]:
    """A point of the local frame in RAS+ mm, as a report says it."""
    return [round(float(v), 2) for v in point_mm + patient.affine[:3, 3]]
