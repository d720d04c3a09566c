"""One phase's image on another one's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.errors import PhasesApart
from nephra_contract.progress import Progress
from nephra_contract.volume import Volume, corners

#: Planes of the target grid that are made at a time.
_SLAB = 16


def onto(image: Volume, grid: Volume, names: tuple[str, str], progress: Progress) -> Volume:
    """Resample an image in world space, linearly; outside of it lies its darkest value.

    Args:
        image: the image to move.
        grid: the image whose grid is wanted.
        names: what both are called, for the error.
        progress: advanced slab by slab.

    Returns:
        On the grid of `grid`; integers stay integers.

    Raises:
        PhasesApart: the two do not overlap; the error has where both lie.
    """
    if image.same_grid(grid):
        return image
    check_overlap(image, grid, names)
    to_image = np.linalg.inv(image.affine) @ grid.affine
    whole = np.issubdtype(image.voxels.dtype, np.integer)
    dtype = image.voxels.dtype if whole else np.dtype(np.float32)
    out = np.empty(grid.shape, dtype=dtype, order="F")
    outside = float(image.voxels.min())
    for start in range(0, grid.shape[2], _SLAB):
        progress.advance(start / grid.shape[2], "aligning phases")
        part = slice(start, min(start + _SLAB, grid.shape[2]))
        values = _resample(image.voxels, to_image, grid.shape[:2], part, outside)
        out[:, :, part] = np.rint(values) if whole else values
    return Volume(out, grid.affine)


def _resample(
    voxels: NDArray[Any],
    to_image: NDArray[np.float64],
    plane: tuple[int, ...],
    part: slice,
    outside: float,
) -> NDArray[np.float32]:
    linear = to_image[:3, :3]
    offset = to_image[:3, 3] + linear[:, 2] * part.start
    diagonal = np.diag(linear)
    # SciPy has a faster way for grids that are not turned against each other.
    straight = bool(np.abs(linear - np.diag(diagonal)).max() < 1e-9)
    shape = (*plane, part.stop - part.start)
    return np.asarray(
        ndimage.affine_transform(
            voxels,
            diagonal if straight else linear,
            offset,
            output_shape=shape,
            output=np.float32,
            order=1,
            mode="constant",
            cval=outside,
        )
    )


def check_overlap(image: Volume, grid: Volume, names: tuple[str, str]) -> None:
    """Refuse two images that share no part of space.

    Raises:
        PhasesApart: with the extent of both in RAS+ mm.
    """
    ours, theirs = _extent(image), _extent(grid)
    gap = np.maximum(ours[0] - theirs[1], theirs[0] - ours[1])
    if (gap >= 0).any():
        said = [
            f"{n} from {_shown(e[0])} to {_shown(e[1])}"
            for n, e in zip(names, (ours, theirs), strict=True)
        ]
        raise PhasesApart(
            f"The phases do not overlap in space: {'; '.join(said)} (RAS+ mm).",
            "Send phases of one examination, in one frame of reference.",
            extent_mm={
                n: np.round(e, 1).tolist() for n, e in zip(names, (ours, theirs), strict=True)
            },
        )


def _extent(image: Volume) -> NDArray[np.float64]:
    places = corners(image)
    return np.stack([places.min(axis=0), places.max(axis=0)])


def _shown(place: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{v:.0f}" for v in place) + ")"
