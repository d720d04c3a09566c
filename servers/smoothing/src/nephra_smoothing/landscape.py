"""A field to be contoured at levels, on one grid or in blocks of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nephra_smoothing.field import Field, Occupancy
from nephra_smoothing.surface import Surface, flying_edges


class Landscape(Protocol):
    """A field, and the voxels that it comes from."""

    @property
    def low(self) -> float:
        """Levels above it give closed surfaces."""

    @property
    def high(self) -> float:
        """At this level, or above, nothing is enclosed."""

    def holds(self, level: float, tolerance: float) -> bool:
        """Whether a grid point has that value."""

    def surface(self, level: float = 0.0) -> Surface:
        """Where the field has a value."""

    def lost_mm3(self) -> float:
        """The largest piece of voxels that have no inside of the surface even next to them."""


@dataclass(frozen=True, eq=False)
class Whole:
    """A landscape on one grid."""

    field: Field
    occupied: Occupancy

    @property
    def low(self) -> float:
        """Levels above it give closed surfaces."""
        values = self.field.values
        border = max(float(np.take(values, (0, -1), axis=a).max()) for a in range(3))
        return max(border, float(values.min()))

    @property
    def high(self) -> float:
        """At this level, or above, nothing is enclosed."""
        return float(self.field.values.max())

    def holds(self, level: float, tolerance: float) -> bool:
        """Whether a grid point has that value."""
        return bool((np.abs(self.field.values - level) < tolerance).any())

    def surface(self, level: float = 0.0) -> Surface:
        """Where the field has a value."""
        return flying_edges(self.field, level)

    def lost_mm3(self) -> float:
        """The largest piece of voxels that have no inside of the surface even next to them."""
        from cc3d import connected_components

        near = self.field.values > 0
        for axis in range(3):
            along = np.moveaxis(near, axis, 0)
            before = along[:-1].copy()
            along[:-1] |= along[1:]
            along[1:] |= before
        lost = self.occupied.share > 0.05
        lost &= ~near
        if not lost.any():
            return 0.0
        cell_mm3 = abs(np.linalg.det(self.occupied.affine[:3, :3]))
        piece = connected_components(lost, connectivity=26)
        return float(np.bincount(piece[lost], self.occupied.share[lost]).max() * cell_mm3)
