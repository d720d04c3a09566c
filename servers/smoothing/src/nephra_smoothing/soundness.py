"""Whether a surface is one that a solid body can have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.surface import Surface

_FLAT_MM2 = 1e-9


def is_sound(surface: Surface) -> bool:
    """Closed, 2-manifold, consistently wound, without degenerate faces.

    Every directed edge occurs once, its reverse too; around each vertex the faces form one fan;
    every face has an area, every vertex a face.
    """
    return bool(
        len(surface.faces)
        and not (surface.twice_areas_mm2 <= _FLAT_MM2).any()
        and not len(surface.faults)
    )


def faulty_points(surface: Surface) -> NDArray[np.float64]:
    """(F, 3) the vertices at which a surface is not sound."""
    flat = surface.faces[surface.twice_areas_mm2 <= _FLAT_MM2].ravel()
    return np.asarray(surface.points[np.unique(np.concatenate([surface.faults, flat]))])


def piece_of_faces(surface: Surface) -> NDArray[np.int64]:
    """(M,) the number of the connected piece that each face belongs to."""
    return surface.pieces[surface.faces[:, 0]]


def shells(surface: Surface) -> NDArray[np.float64]:
    """(P,) signed volumes in mm³ of the connected pieces; those of cavities are negative."""
    return np.bincount(piece_of_faces(surface), surface.face_volumes_mm3).astype(np.float64)


def without_crumbs(surface: Surface, volume_mm3: float) -> Surface:
    """Leave out pieces and cavities that enclose less than `volume_mm3`."""
    large = np.abs(shells(surface)) >= volume_mm3
    if large.all() or not large.any():
        return surface
    return part(surface, large[piece_of_faces(surface)])


def part(surface: Surface, keep: NDArray[np.bool_]) -> Surface:
    """Those faces that are kept, and the vertices that they use, in their order.

    Args:
        keep: (M,).
    """
    faces = surface.faces[keep]
    used = np.zeros(len(surface.points), bool)
    used[faces.ravel()] = True
    number = np.cumsum(used) - 1
    return Surface(surface.points[used], number[faces])
