"""What a CT says of a grid: where it has the density of fat, and where it reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.merge import regrid
from nephra_contract.volume import LabelMap, Volume, corners

#: From the densest fat to where muscle and fat share a voxel, as in measurements of fat on CT.
FAT_HU = (-190.0, -30.0)


def fatty(image: Volume, grid: Volume) -> NDArray[np.bool_]:
    """Where a CT has the density of fat.

    Args:
        image: HU.
        grid: any grid.

    Returns:
        (X, Y, Z) bool on the grid, by nearest neighbour; outside of the CT False. On a coarser
        grid the mean density around decides: noise makes holes in fat.
    """
    part = _averaged(_around(image, grid), min(grid.spacing_mm))
    dense: NDArray[Any] = (part.voxels >= FAT_HU[0]) & (part.voxels <= FAT_HU[1])
    if part.same_grid(grid, 1e-6):
        return dense
    return np.asarray(regrid(LabelMap(dense.view(np.uint8), part.affine), grid).voxels > 0)


def _averaged(image: Volume, step_mm: float) -> Volume:
    """Means over about a step along axes whose voxels are finer."""
    sizes = [
        2 * round(step_mm / (2 * s)) + 1 if s < 0.75 * step_mm else 1 for s in image.spacing_mm
    ]
    if max(sizes) == 1:
        return image
    return image.like(ndimage.uniform_filter(image.voxels.astype(np.float32), sizes))


def covered(image: Volume, grid: Volume) -> NDArray[np.bool_]:
    """(X, Y, Z) bool: which voxels of a grid lie within an image."""
    whole = np.broadcast_to(np.ones(1, np.uint8), image.shape)
    return np.asarray(regrid(LabelMap(whole, image.affine), grid).voxels > 0)


def _around(image: Volume, grid: Volume) -> Volume:
    """The part of an image that a grid lies in, with a voxel to spare."""
    back = np.linalg.inv(image.affine)
    ends = np.round(corners(grid) @ back[:3, :3].T + back[:3, 3], 6)
    low = np.clip(np.floor(ends.min(axis=0)), 0, image.shape).astype(int)
    high = np.clip(np.ceil(ends.max(axis=0)) + 1, low, image.shape).astype(int)
    return image.crop((slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])))
