"""Coarser forms of a surface, to be shown from afar."""

from __future__ import annotations

from nephra_contract.scene import Level
from nephra_smoothing.simplification import deviation_mm, simplify
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.surface import Surface, hold_volume

#: Each level has about this many times fewer triangles than the one before.
FEWER = 4
_LEAST_FACES = 40
#: Tells `simplify` to stop at the number of faces only.
_NO_ERROR_MM, _ANY_RADIUS_MM = 1e-6, 1.0


def levels_of(surface: Surface, count: int) -> tuple[Level, ...]:
    """Simplify again and again; each level is sound, and encloses the same volume.

    Args:
        surface: sound, mm.
        count: levels that are wanted.

    Returns:
        So many, or fewer where there is nothing left to leave out.
    """
    made: list[Level] = []
    volume_mm3, finer = surface.volume_mm3, surface
    for _ in range(count):
        target = len(finer.faces) // FEWER
        if target < _LEAST_FACES:
            break
        found, _ = simplify(finer, _NO_ERROR_MM, _ANY_RADIUS_MM, target)
        found = hold_volume(found, volume_mm3)
        if len(found.faces) >= len(finer.faces) or not is_sound(found):
            break
        made.append(Level(found.points, found.faces, deviation_mm(surface, found)))
        finer = found
    return tuple(made)
