"""Sampling grids: a voxel shape and its affine, and which voxels a box in space covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Affine = NDArray[np.float64]
Box = tuple[slice, slice, slice]

FIELD_OF_VIEW_MM = (352.0, 352.0, 300.0)


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: ``shape`` (i, j, k) and ``affine`` (4, 4) voxel → RAS+ mm."""

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) distance in mm between neighbours along i, j, k."""
        spacing: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return spacing

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def coordinates(self, box: Box) -> tuple[Array, Array, Array]:
        """World x, y, z in mm of a box's voxel centres, each as small as broadcasting allows."""
        steps = [np.arange(part.start, part.stop, dtype=np.float64) for part in box]
        axes = [
            steps[0][:, None, None],
            steps[1][None, :, None],
            steps[2][None, None, :],
        ]
        world: list[Array] = []
        for row in self.affine[:3]:
            value = np.full((1, 1, 1), row[3])
            for weight, axis in zip(row[:3], axes, strict=True):
                if weight != 0:
                    value = value + weight * axis
            world.append(value.astype(np.float32))
        return world[0], world[1], world[2]

    def box(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
        """Voxels whose centres may lie in the world box ``low``..``high`` mm, cut to the grid."""
        corners = np.array(
            [
                [x, y, z]
                for x in (low[0], high[0])
                for y in (low[1], high[1])
                for z in (low[2], high[2])
            ]
        )
        inverse = np.linalg.inv(self.affine)
        index = corners @ inverse[:3, :3].T + inverse[:3, 3]
        first = np.clip(np.floor(index.min(axis=0)), 0, self.shape).astype(int)
        last = np.clip(np.ceil(index.max(axis=0)) + 1, 0, self.shape).astype(int)
        return (
            slice(int(first[0]), int(last[0])),
            slice(int(first[1]), int(last[1])),
            slice(int(first[2]), int(last[2])),
        )


def centred(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Grid:
    """A RAS+ grid of this shape and spacing whose middle is the middle of the phantom."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -0.5 * (np.array(shape) - 1) * np.array(spacing_mm)
    return Grid(shape, affine)


def _preset(shape: tuple[int, int, int]) -> Grid:
    spacing = tuple(extent / count for extent, count in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    return centred(shape, (spacing[0], spacing[1], spacing[2]))


PRESETS: dict[str, Grid] = {
    "small": _preset((160, 160, 120)),
    "large": _preset((512, 512, 300)),
}


def intersect(first: Box, second: Box) -> Box | None:
    """The common voxels of two boxes, or None."""
    parts: list[slice] = []
    for one, other in zip(first, second, strict=True):
        start, stop = max(one.start, other.start), min(one.stop, other.stop)
        if start >= stop:
            return None
        parts.append(slice(start, stop))
    return parts[0], parts[1], parts[2]


def relative(box: Box, origin: Box) -> Box:
    """``box`` counted from the first voxel of ``origin``."""
    parts = [
        slice(one.start - other.start, one.stop - other.start)
        for one, other in zip(box, origin, strict=True)
    ]
    return parts[0], parts[1], parts[2]
