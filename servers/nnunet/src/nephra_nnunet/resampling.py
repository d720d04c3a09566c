"""Resampling between grids that share their corners, as nnU-Net does it.

nnU-Net resamples with `skimage.transform.resize`, which is `scipy.ndimage.zoom` with the grid's
outer edges aligned. Splines are separable and linear, so that a resampling is one small matrix
per axis. The matrices are taken from SciPy itself by resampling unit vectors; what is left is
matrix products, which need no full-resolution float volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_nnunet.architecture import Triple
from nephra_nnunet.plans import Resampling

Spacing = tuple[float, float, float]

#: nnU-Net's threshold: a coarse axis is resampled apart beyond this ratio of spacings.
_ANISOTROPY = 3.0
#: A spline's tail decays for ever; weights below this are rounding, and slow as denormals.
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Operators:
    """One matrix per axis, (new length, old length) float32.

    Args:
        matrices: each row sums to one.
        apart: the axis that is resampled by itself, slice by slice in the two others.
    """

    matrices: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
    apart: int | None

    @property
    def shape(self) -> Triple:
        """The new shape."""
        a, b, c = (m.shape[0] for m in self.matrices)
        return a, b, c


def new_shape(shape: Triple, spacing: Spacing, target: Spacing) -> Triple:
    """The shape at another spacing, rounded half to even as nnU-Net does."""
    a, b, c = (round(s / t * n) for s, t, n in zip(spacing, target, shape, strict=True))
    return a, b, c


def operators(
    shape: Triple, target_shape: Triple, spacing: Spacing, target: Spacing, how: Resampling
) -> Operators:
    """The matrices that take an array from one grid to another."""
    axis = coarse_axis(spacing, target, how.apart)
    if shape == target_shape:
        axis = None
    orders = [how.order_z if a == axis else how.order for a in range(3)]
    first, second, third = (
        matrix(old, new, order) for old, new, order in zip(shape, target_shape, orders, strict=True)
    )
    return Operators((first, second, third), axis)


def coarse_axis(spacing: Spacing, target: Spacing, apart: bool | None) -> int | None:
    """The axis to resample apart, if there is one: nnU-Net's rule for anisotropic spacings."""
    if apart is False:
        return None
    for candidate in (spacing, target):
        if apart or max(candidate) / min(candidate) > _ANISOTROPY:
            coarsest = [a for a in range(3) if max(candidate) / candidate[a] == 1]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


@lru_cache(maxsize=256)
def matrix(old: int, new: int, order: int) -> NDArray[np.float32]:
    """(new, old) float32: resamples one axis by a spline of that order, edges repeated."""
    if old == new:
        return np.eye(old, dtype=np.float32)
    if order == 0:
        return _nearest(old, new)
    columns = [
        ndimage.zoom(unit, new / old, order=order, mode="nearest", grid_mode=True)
        for unit in np.eye(old)
    ]
    dense = np.stack(columns, axis=1)
    dense[np.abs(dense) < _NEGLIGIBLE] = 0
    dense = dense.astype(np.float32)
    dense.flags.writeable = False
    return dense


def _nearest(old: int, new: int) -> NDArray[np.float32]:
    places = old / new * (np.arange(new) + 0.5) - 0.5
    source = ndimage.map_coordinates(np.arange(old), [places], order=0, mode="nearest")
    dense = np.zeros((new, old), dtype=np.float32)
    dense[np.arange(new), source] = 1
    return dense
