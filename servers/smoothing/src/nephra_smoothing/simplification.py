"""Fewer triangles within a stated distance."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.soundness import faulty_points, is_sound, part, piece_of_faces
from nephra_smoothing.surface import Surface, polydata

#: The library keeps its mesh in globals of the process.
ONE_AT_A_TIME = threading.Lock()
#: How fast the library's tolerance grows on its way to a number of faces; below 5 it stalls.
_AGGRESSION = 7.0
#: Without such a number it collapses all that costs less than this: a sum of squared distances.
_LIBRARY_COST = float(np.finfo(np.float64).eps)
#: At a cost of the square of so many distances, 99 % of the surface lie within the distance.
_COST_PER_DISTANCE = 2.6
_SAMPLES = 400
#: Pieces of fewer faces are left as they are: a collapsed octahedron is flat.
_LEAST_FACES = 60
_MOST_MENDINGS = 5
_FACES_AT_A_TIME = 500_000
#: Below this distance nothing is worth a try.
_LEAST_ERROR_MM = 1e-4


def simplify(
    surface: Surface, error_mm: float, radius_mm: float, most_faces: int
) -> tuple[Surface, float]:
    """Collapse edges by quadric error (Garland & Heckbert 1997) as far as `error_mm` allows.

    Args:
        surface: sound.
        error_mm: 99 % of the old surface stay within this distance of the new one.
        radius_mm: a typical radius of curvature.
        most_faces: more are not kept, even if the error then is larger.

    Returns:
        A sound surface, the old one if none was found, and the distance that was measured, mm.
    """
    if len(surface.faces) <= _LEAST_FACES:
        return surface, 0.0
    small = _small_pieces(surface)
    # A chord of length h over a circle of radius r is off by h² / 8 r.
    edge_mm = np.sqrt(8 * radius_mm * max(error_mm, _LEAST_ERROR_MM))
    best, found_mm, allowed_mm = surface, 0.0, error_mm
    while allowed_mm > max(_LEAST_ERROR_MM, error_mm / 5):
        fewer = _collapsed(surface, small, edge_mm, error_mm=allowed_mm)
        if fewer is not None:
            fewer_mm = deviation_mm(surface, fewer)
            if fewer_mm <= error_mm:
                best, found_mm = fewer, fewer_mm
                break
        allowed_mm /= 1.6
    if len(best.faces) > most_faces:
        # From what is found already: the rest of the way is short.
        small = small if best is surface else _small_pieces(best)
        edge_mm = 2 * np.sqrt(best.area_mm2 / (0.433 * most_faces))
        fewer = _collapsed(best, small, edge_mm, faces=most_faces)
        if fewer is not None:
            return fewer, deviation_mm(surface, fewer)
    return best, found_mm


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


def _small_pieces(surface: Surface) -> NDArray[np.bool_]:
    """(M,) faces of pieces that have only a few."""
    piece = piece_of_faces(surface)
    return np.asarray(np.bincount(piece)[piece] < _LEAST_FACES)


def _collapsed(
    surface: Surface,
    keep: NDArray[np.bool_],
    edge_mm: float,
    error_mm: float | None = None,
    faces: int | None = None,
) -> Surface | None:
    """Collapse within a distance, or to a number of faces; None if no sound surface came out.

    The library does not see when a collapse pinches the surface. What lies around such a place
    is then kept as it was, and the rest is collapsed anew, up to that part's border.

    Args:
        keep: (M,) faces that stay as they are.
        edge_mm: about the length of the new edges.
    """
    from scipy.spatial import cKDTree

    # The cost that the library stops at is fixed: the surface is scaled instead.
    scale = 1.0 if error_mm is None else np.sqrt(_LIBRARY_COST) / (_COST_PER_DISTANCE * error_mm)
    scaled = Surface(surface.points * scale, surface.faces)
    tree = None
    for attempt in range(_MOST_MENDINGS):
        found = _collapsed_beside(scaled, keep, faces)
        found = Surface(found.points / scale, found.faces)
        if is_sound(found):
            return found
        tree = tree or cKDTree(surface.points[surface.faces].mean(axis=1))
        near = tree.query_ball_point(faulty_points(found), edge_mm * 1.5**attempt)
        keep = keep.copy()
        keep[np.unique(np.concatenate([np.asarray(n, np.int64) for n in near]))] = True
    return None


def _collapsed_beside(surface: Surface, keep: NDArray[np.bool_], faces: int | None) -> Surface:
    """Collapse all but what is kept, which is joined to it again."""
    if not keep.any():
        return _run(surface, faces)
    fixed = part(surface, keep)
    moving = part(surface, ~keep)
    if faces is not None:
        faces = max(faces - len(fixed.faces), len(moving.faces) // 50)
        if faces >= len(moving.faces):
            return surface
    moved = _run(moving, faces)
    # The border's vertices are in both parts, to the last bit.
    every = np.concatenate([moved.points, fixed.points])
    unique, number = np.unique(every, axis=0, return_inverse=True)
    joined = np.concatenate([moved.faces, fixed.faces + len(moved.points)])
    return Surface(unique, number.reshape(-1)[joined])


def _run(surface: Surface, faces: int | None) -> Surface:
    if faces is None and len(surface.faces) > _FACES_AT_A_TIME:
        return _run_in_parts(surface)
    return _run_at_once(surface, faces)


def _run_in_parts(surface: Surface) -> Surface:
    """Some faces at a time, as the library takes 300 bytes for each; as it is where they meet."""
    centre = surface.points[:, np.ptp(surface.points, axis=0).argmax()][surface.faces].sum(axis=1)
    count = -(-len(surface.faces) // _FACES_AT_A_TIME)
    ends = np.quantile(centre, np.arange(1, count) / count)
    which = np.searchsorted(ends, centre)
    seen = np.zeros(len(surface.points), np.int8)
    points: list[NDArray[np.float64]] = []
    faces: list[NDArray[np.int64]] = []
    before = 0
    for number in range(count):
        mine = np.asarray(which == number)
        used = np.zeros(len(seen), bool)
        used[surface.faces[mine]] = True
        seen += used
        found = _run_at_once(part(surface, mine), None)
        points.append(found.points)
        faces.append(found.faces + before)
        before += len(found.points)
    every = np.concatenate(points)
    # The border's vertices are in two parts or more, to the last bit.
    double = np.flatnonzero(np.isin(every[:, 0], surface.points[seen > 1, 0]))
    _, first, same = np.unique(every[double], axis=0, return_index=True, return_inverse=True)
    target = np.arange(len(every))
    target[double] = double[first][same.reshape(-1)]
    kept = target == np.arange(len(every))
    number_of = np.cumsum(kept) - 1
    return Surface(every[kept], number_of[target][np.concatenate(faces)])


def _run_at_once(surface: Surface, faces: int | None) -> Surface:
    import fast_simplification

    if not len(surface.faces):
        return surface
    with ONE_AT_A_TIME:
        points, triangles = fast_simplification.simplify(
            surface.points, surface.faces.astype(np.int32), target_count=faces or 1,
            agg=_AGGRESSION, lossless=faces is None, preserve_border=True,
        )  # fmt: skip
    return Surface(np.asarray(points, np.float64), np.asarray(triangles, np.int64))
