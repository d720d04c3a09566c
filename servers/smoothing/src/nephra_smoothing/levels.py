"""Coarser forms of a surface, to be shown from afar."""

from __future__ import annotations

import numpy as np

from nephra_contract.scene import Level
from nephra_smoothing.partition import Partition
from nephra_smoothing.patches import coarser
from nephra_smoothing.relaxation import Sides
from nephra_smoothing.simplification import deviation_mm
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.surface import Surface, hold_volume

#: Each level has about this many times fewer triangles than the one before.
FEWER = 4
#: A level that keeps more of the triangles of the one before is none.
_LEVEL_SHARE = 0.9
#: Nor is one that is off by a larger share of the structure's size.
_MOST_ERROR = 0.02


def levels_of(surface: Surface, count: int) -> tuple[Level, ...]:
    """Simplify again and again; each level is sound, and encloses the same volume.

    Args:
        surface: sound, mm.
        count: levels that are wanted.

    Returns:
        So many, or fewer where there is nothing left to leave out.
    """
    volume_mm3, whole = surface.volume_mm3, alone(surface)
    coarse: list[Surface] = []
    for _ in range(count):
        whole = coarser(whole, 1 / FEWER)
        coarse.append(hold_volume(whole.surface(1), volume_mm3))
    return distinct(surface, coarse)


def distinct(surface: Surface, coarse: list[Surface]) -> tuple[Level, ...]:
    """Those of ever coarser forms that are sound, much coarser than the one before, and alike."""
    found: list[Level] = []
    fewest = len(surface.faces)
    size_mm = float(np.linalg.norm(np.ptp(surface.points, axis=0)))
    for level in coarse:
        if len(level.faces) > _LEVEL_SHARE * fewest or not is_sound(level):
            break
        fewest = len(level.faces)
        error_mm = deviation_mm(surface, level)
        if error_mm > _MOST_ERROR * size_mm:
            break
        found.append(Level(level.points, level.faces, error_mm))
    return tuple(found)


def alone(surface: Surface) -> Partition:
    """One surface as the wall between label 1 and nothing."""
    sides = np.tile([1, 0], (len(surface.faces), 1))
    return Partition.of(surface.points, surface.faces, Sides.of(sides))
