"""True surfaces: marching cubes (Lewiner 2003) on the implicit functions, sampled finely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from nephra_phantom.grid import Array, Box, Grid
from nephra_phantom.motion import Motion
from nephra_phantom.painting import FAR_MM, Painter
from nephra_phantom.structure import Structure, corners


@dataclass(frozen=True)
class Surface:
    """A closed surface: ``vertices`` (n, 3) RAS+ mm, ``faces`` (m, 3), normals outwards."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    @property
    def volume_mm3(self) -> float:
        """Enclosed volume, by the divergence theorem."""
        a, b, c = (self.vertices[self.faces[:, n]] for n in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def extract(
    structures: tuple[Structure, ...], motion: Motion, label: int, spacing_mm: float
) -> Surface:
    """The surface of what stays visible of a label after all later structures cover it.

    Raises ``ValueError`` where the phantom has no such label.
    """
    wanted = [one for one in structures if one.label == label]
    if not wanted:
        raise ValueError(f"This phantom has no structure with label {label}.")
    boxes = np.concatenate([motion.from_rest(corners(one.bounds())) for one in wanted])
    low = np.maximum(boxes.min(axis=0), -400) - 3 * spacing_mm
    high = np.minimum(boxes.max(axis=0), 400) + 3 * spacing_mm
    grid = _grid(low, high, spacing_mm)
    field = _field(Painter(structures, motion, grid), label, 4 * spacing_mm)
    field = np.pad(field, 1, constant_values=float(spacing_mm))
    vertices, faces, _, _ = marching_cubes(field, 0.0, gradient_direction="descent")
    world = (vertices - 1) * spacing_mm + grid.affine[:3, 3]
    surface = Surface(world.astype(np.float64), faces.astype(np.int64))
    return surface if surface.volume_mm3 > 0 else Surface(surface.vertices, surface.faces[:, ::-1])


def _grid(low: NDArray[np.float64], high: NDArray[np.float64], spacing_mm: float) -> Grid:
    counts = np.ceil((high - low) / spacing_mm).astype(int) + 1
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low
    return Grid((int(counts[0]), int(counts[1]), int(counts[2])), affine)


def _field(painter: Painter, label: int, margin_mm: float) -> Array:
    """Negative where the label is seen: unions of its parts, minus whatever is painted later."""
    whole: Box = tuple(slice(0, count) for count in painter.grid.shape)  # type: ignore[assignment]
    field = np.full(painter.grid.shape, FAR_MM, np.float32)
    started = False
    for structure in painter.structures:
        if structure.label != label and not started:
            continue
        box, distance = painter.distance(structure, whole, margin_mm)
        if box is None or distance is None:
            continue
        if structure.label == label:
            started = True
            np.minimum(field[box], distance, out=field[box])
        else:
            np.maximum(field[box], -distance, out=field[box])
    return np.clip(field, -margin_mm, margin_mm)
