"""From a label's voxels to a smooth field whose zero is its surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.slices import between_slices

#: Share of the local mean occupancy at which the surface lies. By it a flat face of the mask
#: stays where it is: there the mean is 3/4, and the surface has to lie at 1/2.
_LEVEL = 2 / 3
#: A field is kept this far from 0 at grid points, so that no two vertices fall together.
_CLEAR = 2e-3
#: Gaussian kernels end at this many standard deviations.
_TRUNCATE = 2.4
#: The value where no voxel is near.
NOTHING = -0.1


@dataclass(frozen=True, eq=False)
class Field:
    """Values on a grid, positive inside of a structure.

    Args:
        values: (I, J, K) float32, C order, not positive on the border of the grid.
        affine: (4, 4) grid indices → RAS+ mm.
    """

    values: NDArray[np.float32]
    affine: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Occupancy:
    """How much of each cell of a grid a structure fills.

    Args:
        share: (I, J, K) float32, 0..1, 0 on the border of the grid.
        affine: (4, 4) grid indices → RAS+ mm.
    """

    share: NDArray[np.float32]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) distances between neighbouring cells."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


def occupancy(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], reduce: tuple[int, int, int], pad: int
) -> Occupancy:
    """Average blocks of voxels, with empty cells around.

    Args:
        mask: (I, J, K), a structure within its bounding box.
        affine: (4, 4) voxel → RAS+ mm.
        reduce: voxels per cell along each axis.
        pad: empty cells on each side.
    """
    cells = [-(-n // r) + 2 * pad for n, r in zip(mask.shape, reduce, strict=True)]
    share = np.zeros(cells, np.float32)
    inner = share[tuple(slice(pad, n - pad) for n in cells)]
    for start in np.ndindex(*reduce):
        part = mask[tuple(slice(s, None, r) for s, r in zip(start, reduce, strict=True))]
        inner[tuple(slice(0, n) for n in part.shape)] += part
    inner /= float(np.prod(reduce))
    scale = np.asarray(reduce, dtype=np.float64)
    return Occupancy(share, rescaled(affine, scale, pad))


def refined(occupied: Occupancy, axis: int, factor: int) -> Occupancy:
    """Interpolate between thick slices; see `between_slices`."""
    scale = np.ones(3)
    scale[axis] = 1 / factor
    share = between_slices(occupied.share, axis, factor)
    return Occupancy(np.ascontiguousarray(share), rescaled(occupied.affine, scale, 0))


def anti_aliased(occupied: Occupancy, sigma_mm: NDArray[np.float64]) -> Field:
    """Blur the occupancy, and put the surface where the structure stays as thick as it is.

    With m the occupancy, G a Gaussian and f = G(m), the local mean of f over the structure is
    G(f m) / G(m). The surface is where f is two thirds of it. At the flat side of an organ this
    is f = 1/2; a tube thinner than the kernel has a low f and an equally low level, so that it
    keeps nearly its volume and never vanishes, next to whatever thick structure it branches off.

    Args:
        sigma_mm: (3,) standard deviations of the Gaussian along the grid's axes.
    """
    from scipy.ndimage import gaussian_filter

    m = occupied.share
    sigma = sigma_mm / occupied.spacing_mm
    blurred = gaussian_filter(m, sigma, truncate=_TRUNCATE, mode="constant")
    values = blurred * m
    gaussian_filter(values, sigma, output=values, truncate=_TRUNCATE, mode="constant")
    faint = blurred < 1e-3
    np.maximum(blurred, 1e-3, out=blurred)
    values /= blurred
    values *= -_LEVEL
    values += blurred
    values[faint] = NOTHING
    return Field(cleared(values), occupied.affine)


def plain(occupied: Occupancy) -> Field:
    """The occupancy itself, less one half: no smoothing."""
    return Field(cleared(occupied.share - np.float32(0.5)), occupied.affine)


def padding(sigma_mm: NDArray[np.float64], spacing_mm: NDArray[np.float64]) -> int:
    """Empty cells that a structure needs around it, so that its blurred surface closes."""
    return int(np.ceil((sigma_mm / spacing_mm).max() * 2)) + 2


def kernel_radius(sigma: NDArray[np.float64]) -> NDArray[np.int64]:
    """(3,) cells on either side that a Gaussian of `sigma` cells looks at."""
    return np.asarray(_TRUNCATE * sigma + 0.5).astype(np.int64)


def rescaled(
    affine: NDArray[np.float64], scale: NDArray[np.float64], pad: int
) -> NDArray[np.float64]:
    """The affine of cells that are `scale` voxels long, `pad` of them before the first voxel."""
    first_centre = (scale - 1) / 2 - pad * scale
    out = affine.copy()
    out[:3, :3] = affine[:3, :3] * scale
    out[:3, 3] = affine[:3, 3] + affine[:3, :3] @ first_centre
    return out


def cleared(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Away from 0 at grid points, and outside on the border."""
    for axis in range(3):
        for end in (0, -1):
            side = np.moveaxis(values, axis, 0)[end]
            np.minimum(side, NOTHING, out=side)
    near = np.abs(values) < _CLEAR
    values[near] = np.where(values[near] < 0, -_CLEAR, _CLEAR)
    return np.ascontiguousarray(values, dtype=np.float32)
