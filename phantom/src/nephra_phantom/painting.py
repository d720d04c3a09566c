"""Structures onto voxels, block by block: HU with soft edges, or label numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_phantom.fills import Phase
from nephra_phantom.grid import Array, Box, Grid, intersect, relative
from nephra_phantom.motion import Motion
from nephra_phantom.noise import Noise
from nephra_phantom.shapes import Bounds
from nephra_phantom.structure import Structure, corners

AIR_HU = -1024
FAR_MM = np.float32(1e3)
_BLOCK_VOXELS = 3_000_000


@dataclass(frozen=True)
class Painter:
    """Paints structures, later over earlier, as they lie in one phase on one grid."""

    structures: tuple[Structure, ...]
    motion: Motion
    grid: Grid

    def image(self, phase: Phase, noise: Noise, blur_mm: float | None = None) -> NDArray[np.int16]:
        """(i, j, k) HU; an edge crosses over within ``blur_mm``, one voxel's width if not given."""
        hu = np.empty(self.grid.shape, np.int16)
        blur = np.float32(np.mean(self.grid.spacing_mm) if blur_mm is None else blur_mm)
        for block in self._blocks():
            painted = self._paint(block, phase, blur)
            painted += noise.block(painted.shape, block[2].start)
            np.rint(painted, out=painted)
            hu[block] = np.clip(painted, AIR_HU, 3071)
        return hu

    def _paint(self, block: Box, phase: Phase, blur: np.float32) -> Array:
        shape = tuple(part.stop - part.start for part in block)
        painted = np.full(shape, AIR_HU, np.float32)
        for structure in self.structures:
            box, distance = self.distance(structure, block, float(blur))
            if box is None or distance is None:
                continue
            share = np.clip(np.float32(0.5) - distance / blur, 0, 1)
            if not share.any():
                continue
            view = painted[relative(box, block)]
            fill = structure.hu[phase](*self.motion.to_rest(*self.grid.coordinates(box)))
            view += share * (fill - view)
        return painted

    def labels(self) -> NDArray[np.uint8]:
        """(i, j, k) the label number at each voxel's centre."""
        found = np.zeros(self.grid.shape, np.uint8)
        for block in self._blocks():
            for structure in self.structures:
                box, distance = self.distance(structure, block, 0.0)
                if box is not None and distance is not None:
                    found[box][distance < 0] = structure.label
        return found

    def distance(
        self, structure: Structure, block: Box, margin_mm: float
    ) -> tuple[Box, Array] | tuple[None, None]:
        """A structure's distance in mm in the part of a block that it may touch."""
        box = intersect(self._box(structure.bounds(), margin_mm), block)
        if box is None:
            return None, None
        distance = np.full([part.stop - part.start for part in box], FAR_MM, np.float32)
        for part in structure.parts:
            inner = intersect(self._box(part.bounds(), margin_mm), box)
            if inner is None:
                continue
            where = self.motion.to_rest(*self.grid.coordinates(inner))
            view = distance[relative(inner, box)]
            np.minimum(view, part.distance(*where), out=view)
        if structure.inside is not None:
            where = self.motion.to_rest(*self.grid.coordinates(box))
            np.maximum(distance, structure.inside.distance(*where), out=distance)
        return box, distance

    def _box(self, bounds: Bounds, margin_mm: float) -> Box:
        moved = self.motion.from_rest(corners(bounds))
        return self.grid.box(moved.min(axis=0) - margin_mm, moved.max(axis=0) + margin_mm)

    def _blocks(self) -> Iterator[Box]:
        rows, columns, slices = self.grid.shape
        thick = max(1, _BLOCK_VOXELS // (rows * columns))
        for start in range(0, slices, thick):
            yield slice(0, rows), slice(0, columns), slice(start, min(slices, start + thick))
