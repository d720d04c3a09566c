"""Fewer triangles within a stated distance."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.soundness import faulty_points, is_sound, piece_of_faces
from nephra_smoothing.surface import Surface, polydata

#: The library keeps its mesh in globals of the process.
_ONE_AT_A_TIME = threading.Lock()
#: How fast the library's tolerance grows; below 5 it stalls long before its target.
_AGGRESSION = 7.0
_SAMPLES = 3000
#: Pieces of fewer faces are left as they are: a collapsed octahedron is flat.
_LEAST_FACES = 60
_MOST_MENDINGS = 5


def simplify(
    surface: Surface, error_mm: float, radius_mm: float, most_faces: int
) -> tuple[Surface, float]:
    """Collapse edges by quadric error (Garland & Heckbert 1997) as far as `error_mm` allows.

    Args:
        surface: sound.
        error_mm: 99 % of the old surface stay within this distance of the new one.
        radius_mm: a typical radius of curvature; a guess of the first target.
        most_faces: more are not kept, even if the error then is larger.

    Returns:
        A sound surface, the old one if none was found, and the distance that was measured, mm.
    """
    piece = piece_of_faces(surface)
    small = np.bincount(piece)[piece] < _LEAST_FACES
    # A chord of length h over a circle of radius r is off by h² / 8 r.
    edge_mm = np.sqrt(8 * radius_mm * error_mm)
    # Curvature is uneven: twice as many faces as an even ball would need.
    target = max(2 * surface.area_mm2 / (0.433 * edge_mm**2), _LEAST_FACES)
    most = min(0.9 * len(surface.faces), most_faces)
    while target < most or len(surface.faces) > most_faces:
        fewer = _collapsed(surface, small, int(min(target, most)))
        found_mm = np.inf if fewer is None else deviation_mm(surface, fewer)
        if fewer is not None and (found_mm <= error_mm or target >= most):
            return fewer, found_mm
        if target >= most:
            break
        # The error falls as the number of faces grows.
        target *= float(np.clip(1.1 * found_mm / error_mm, 1.3, 5))
    return surface, 0.0


def deviation_mm(old: Surface, new: Surface) -> float:
    """The distance to `new` within which 99 % of the vertices of `old` lie, mm."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkDoubleArray
    from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

    step = max(len(old.points) // _SAMPLES, 1)
    distance, found = vtkImplicitPolyDataDistance(), vtkDoubleArray()
    distance.SetInput(polydata(new))
    distance.FunctionValue(numpy_to_vtk(np.ascontiguousarray(old.points[::step])), found)
    return float(np.percentile(np.abs(vtk_to_numpy(found)), 99))


def _collapsed(surface: Surface, keep: NDArray[np.bool_], target: int) -> Surface | None:
    """Collapse to about `target` faces; None if no sound surface came out.

    The library does not see when a collapse pinches the surface. What lies around such a place
    is then kept as it was, and the rest is collapsed anew, up to that part's border.

    Args:
        keep: (M,) faces that stay as they are.
    """
    from scipy.spatial import cKDTree

    centres = surface.points[surface.faces].mean(axis=1)
    reach_mm = 2 * np.sqrt(surface.area_mm2 / (0.433 * target))
    keep = keep.copy()
    tree = None
    for attempt in range(_MOST_MENDINGS):
        found = _collapsed_beside(surface, keep, target)
        if is_sound(found):
            return found
        tree = tree or cKDTree(centres)
        near = tree.query_ball_point(faulty_points(found), reach_mm * 1.5**attempt)
        keep[np.unique(np.concatenate([np.asarray(n, np.int64) for n in near]))] = True
    return None


def _collapsed_beside(surface: Surface, keep: NDArray[np.bool_], target: int) -> Surface:
    import fast_simplification

    moving, points = _compact(surface.points, surface.faces[~keep])
    target = max(target - int(keep.sum()), len(moving) // 50)
    if target >= len(moving):
        return surface
    with _ONE_AT_A_TIME:
        new_points, new_faces = fast_simplification.simplify(
            points, moving.astype(np.int32), target_count=target, agg=_AGGRESSION,
            preserve_border=True,
        )  # fmt: skip
    fixed, fixed_points = _compact(surface.points, surface.faces[keep])
    # The border's vertices are in both parts, to the last bit.
    every = np.concatenate([np.asarray(new_points, np.float64), fixed_points])
    unique, number = np.unique(every, axis=0, return_inverse=True)
    faces = np.concatenate([np.asarray(new_faces, np.int64), fixed + len(new_points)])
    return Surface(unique, number.reshape(-1)[faces])


def _compact(
    points: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The faces renumbered over the points that they use, and those points."""
    used, number = np.unique(faces, return_inverse=True)
    return number.reshape(-1, 3).astype(np.int64), points[used]
