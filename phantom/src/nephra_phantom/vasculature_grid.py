"""Tubes on grids: which space they take while a tree grows, and which voxels are theirs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nephra_phantom.grid import Grid
from nephra_phantom.shapes import Tube

FREE = -1


@dataclass(frozen=True)
class Occupancy:
    """A coarse grid that knows which tube has taken which space."""

    owner: NDArray[np.int32]
    cell_mm: float

    @classmethod
    def empty(cls, box_mm: tuple[float, float, float], cell_mm: float) -> Self:
        """Nothing taken yet."""
        shape = [int(np.ceil(b / cell_mm)) + 1 for b in box_mm]
        return cls(np.full(shape, FREE, np.int32), cell_mm)

    def mark(self, line: Tube, number: int) -> None:
        """Take the space of a tube."""
        for point, radius in zip(line.points, line.radii, strict=True):
            box, near = self._ball(point, float(radius))
            cells = self.owner[box]
            cells[near & (cells == FREE)] = number

    def free_points(self, line: Tube, parent: int, clearance_mm: float) -> int:
        """How many points from its start a tube has before it comes too near to another one.

        Its parent is no obstacle until it has left it.
        """
        left_parent = parent < 0
        for n, (point, radius) in enumerate(zip(line.points, line.radii, strict=True)):
            box, near = self._ball(point, float(radius) + clearance_mm)
            others = self.owner[box][near]
            left_parent = left_parent or not (others == parent).any()
            # Where it begins, its parent's other children and its parent's own parent are near.
            if left_parent and (others != FREE).any():
                return max(n - 2, 0)
        return len(line.points)

    def _ball(
        self, point: NDArray[np.float64], radius_mm: float
    ) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
        low = np.maximum(np.floor((point - radius_mm) / self.cell_mm), 0).astype(int)
        high = np.minimum(
            np.ceil((point + radius_mm) / self.cell_mm).astype(int) + 1, self.owner.shape
        )
        axes = [
            (np.arange(a, b) * self.cell_mm - p) ** 2
            for a, b, p in zip(low, high, point, strict=True)
        ]
        near = axes[0][:, None, None] + axes[1][None, :, None] + axes[2] <= radius_mm**2
        return (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])), near


def paint(voxels: NDArray[np.uint8], grid: Grid, lines: list[Tube], number: int) -> None:
    """Give the voxels within tubes (their centres count) a number."""
    for line in lines:
        radii = zip(pairwise(line.points), pairwise(line.radii.tolist()), strict=True)
        for (start, stop), (first, last) in radii:
            _paint_piece(voxels, grid, (start, stop), (first, last), number)


def _paint_piece(
    voxels: NDArray[np.uint8],
    grid: Grid,
    ends: tuple[NDArray[np.float64], NDArray[np.float64]],
    radii: tuple[float, float],
    number: int,
) -> None:
    """A piece of a tube with round ends and a linearly changing radius."""
    start, stop = ends
    reach = max(radii)
    box = grid.box(np.minimum(start, stop) - reach, np.maximum(start, stop) + reach)
    x, y, z = (
        part - np.float32(origin) for part, origin in zip(grid.coordinates(box), start, strict=True)
    )
    along = (stop - start).astype(np.float32)
    length_2 = max(float(along @ along), 1e-9)
    t = np.clip((x * along[0] + y * along[1] + z * along[2]) / np.float32(length_2), 0, 1)
    distance_2 = (x - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (z - t * along[2]) ** 2
    radius = np.float32(radii[0]) + t * np.float32(radii[1] - radii[0])
    voxels[box][distance_2 <= radius * radius] = number
