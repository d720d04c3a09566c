"""The surface of one structure, closed and of its volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nephra_contract.volume import bounding_box
from nephra_smoothing.attempt import ISLAND_VOXELS, attempt_at, attempts
from nephra_smoothing.shape import LOST, OFF, OPEN, Made, Structure, Wish
from nephra_smoothing.simplification import simplify
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.surface import Surface, hold_volume

__all__ = ["Made", "Structure", "Wish", "surface_of"]

_VOLUME_TOLERANCE = 0.001
#: What sticks out of a large piece, and has fewer voxels than this, coarse cells may level.
_TIP_VOXELS = 12


def surface_of(structure: Structure, wish: Wish) -> Made:
    """The surface of a structure, closed and of the structure's volume.

    Args:
        structure: at least one voxel.

    Returns:
        The first attempt without a fault, else the one with the lightest.
    """
    best: Made | None = None
    finished: Made | None = None
    for attempt in attempts(structure, wish):
        made = attempt_at(structure, wish, attempt)
        if attempt.is_coarse and (made.islands or LOST in made.faults):
            parts = _parted(structure)
            if parts is not None:
                large, small = parts
                return _joined(
                    [surface_of(large, wish), surface_of(small, replace(wish, thin=True))]
                )
            if made.lost_mm3 <= _TIP_VOXELS * structure.voxel_mm3:
                made = replace(made, faults=tuple(f for f in made.faults if f != LOST))
        if best is not None and made.severity >= best.severity:
            continue
        best = made
        if best.severity == 0 or (best.severity == 1 and attempt.last_for_light):
            best = finished = _finished(best, structure, wish)
            if best.severity <= 1:
                break
    assert best is not None
    return best if best is finished else _finished(best, structure, wish)


def _parted(structure: Structure) -> tuple[Structure, Structure] | None:
    """Large pieces and small islands; None if all are of one kind."""
    from cc3d import dust

    large = np.asarray(dust(structure.mask, threshold=ISLAND_VOXELS, connectivity=26), dtype=bool)
    boxes = bounding_box(large), bounding_box(structure.mask & ~large)
    if boxes[0] is None or boxes[1] is None:
        return None
    small = structure.mask & ~large
    return structure.crop(large, boxes[0]), structure.crop(small, boxes[1])


def _joined(parts: list[Made]) -> Made:
    """Surfaces side by side as one."""
    before = np.cumsum([0, *(len(p.surface.points) for p in parts)])
    return Made(
        Surface(
            np.concatenate([p.surface.points for p in parts]),
            np.concatenate([p.surface.faces + b for p, b in zip(parts, before[:-1], strict=True)]),
        ),
        " + ".join(p.method for p in parts),
        max(p.decimation_error_mm for p in parts),
        tuple(dict.fromkeys(fault for p in parts for fault in p.faults)),
    )


def _finished(made: Made, structure: Structure, wish: Wish) -> Made:
    """Of few triangles, of its volume, and looked over; with all triangles if it has to be."""
    if not len(made.surface.faces):
        return made
    surface, found_mm = made.surface, 0.0
    if wish.decimation_error_mm > 0:
        # A tenth of the radius, so that a narrow tube is not flattened.
        error_mm = min(wish.decimation_error_mm, structure.radius_mm / 10)
        surface, found_mm = simplify(surface, error_mm, structure.radius_mm, wish.most_triangles)
    held, faults = _held(surface, structure)
    if faults and surface is not made.surface:
        found_mm = 0.0
        held, faults = _held(made.surface, structure)
    return replace(made, surface=held, decimation_error_mm=found_mm, faults=made.faults + faults)


def _held(surface: Surface, structure: Structure) -> tuple[Surface, tuple[str, ...]]:
    """The surface at its volume, and what it lacks there."""
    held = hold_volume(surface, structure.volume_mm3)
    faults = () if is_sound(held) else (OPEN,)
    return held, faults if _has_volume(held, structure) else (*faults, OFF)


def _has_volume(surface: Surface, structure: Structure) -> bool:
    return abs(surface.volume_mm3 / structure.volume_mm3 - 1) <= _VOLUME_TOLERANCE
