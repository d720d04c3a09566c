"""Fewer triangles within a stated distance."""

from __future__ import annotations

import threading

import numpy as np

from nephra_smoothing.soundness import is_sound
from nephra_smoothing.surface import Surface, polydata

#: The library keeps its mesh in globals of the process.
_ONE_AT_A_TIME = threading.Lock()
_SAMPLES = 3000
_LEAST_FACES = 60
#: How fast the library's tolerance grows; below 5 it stalls long before its target.
_AGGRESSION = 7.0


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
    # A chord of length h over a circle of radius r is off by h² / 8 r.
    edge_mm = np.sqrt(8 * radius_mm * error_mm)
    target = max(int(surface.area_mm2 / (0.433 * edge_mm**2)), _LEAST_FACES)
    while target < 0.9 * len(surface.faces):
        fewer = _collapsed(surface, min(target, most_faces))
        if is_sound(fewer):
            found_mm = deviation_mm(surface, fewer)
            if found_mm <= error_mm or target >= most_faces:
                return fewer, found_mm
        target = int(target * 1.7)
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


def _collapsed(surface: Surface, faces: int) -> Surface:
    import fast_simplification

    with _ONE_AT_A_TIME:
        points, kept = fast_simplification.simplify(
            surface.points, surface.faces.astype(np.int32), target_count=faces, agg=_AGGRESSION
        )
    return Surface(np.asarray(points, np.float64), np.asarray(kept, np.int64))
