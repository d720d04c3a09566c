"""How wide a tube is at each place: care for a voxel is for what is a few voxels wide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.field import Occupancy, occupancy
from nephra_smoothing.shape import Structure

#: Voxels of radius up to which a tube is narrow, and from which on it is wide.
_NARROW, _WIDE = 2.0, 4.5
#: Radii are measured on cells of this many voxels.
_CELL_VOXELS = 2
#: Empty cells around, as many as the spreading reaches.
_PAD = 3


def wide_share(structure: Structure, points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """How far places belong to a wide tube: 0 on a narrow one, 1 on a wide one, smooth between.

    The radius is that of the largest ball within reach: the depth in the structure, spread as far
    as a wide tube's radius. So a branch is narrow from where it leaves its trunk.

    Args:
        structure: where voxels are longer along one axis, these lengths count.
        points: (N, 3) in RAS+ mm, on its surface.

    Returns:
        (N,) shares, None if all are 0.
    """
    from edt import edt
    from scipy.ndimage import map_coordinates, maximum_filter, uniform_filter

    voxel_mm = structure.spacing_mm.max()
    i, j, k = (max(int(_CELL_VOXELS * voxel_mm / s + 0.5), 1) for s in structure.spacing_mm)
    cells = occupancy(structure.mask, structure.affine, (i, j, k), _PAD)
    size = cells.spacing_mm / voxel_mm
    inside = cells.share >= 0.5
    depth: NDArray[np.float32] = edt(inside.view(np.uint8), anisotropy=tuple(size), parallel=1)
    # Between the border's cell and the next outside there is half a cell on either side.
    depth -= np.float32(size.max() / 2) * inside
    if not (depth > _NARROW).any():
        return None
    np.clip(depth, _NARROW, _WIDE, out=depth)
    depth -= np.float32(_NARROW)
    depth /= np.float32(_WIDE - _NARROW)
    reach = tuple(2 * int(np.ceil(_WIDE / s)) + 1 for s in size)
    maximum_filter(depth, size=reach, output=depth, mode="constant")
    uniform_filter(depth, size=3, output=depth, mode="constant")
    found = map_coordinates(depth, _index(cells, points), order=1, mode="nearest")
    return np.asarray(found, dtype=np.float64)


def _index(cells: Occupancy, points: NDArray[np.float64]) -> NDArray[np.float64]:
    inverse = np.linalg.inv(cells.affine)
    return np.asarray(inverse[:3, :3] @ points.T + inverse[:3, 3:])
