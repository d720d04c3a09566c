"""Named surfaces, and the files in which surgeons' programs read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Mesh:
    """The closed surface of one structure.

    Args:
        label: its number in our table.
        vertices: (N, 3) float64, RAS+ mm.
        faces: (M, 3) int, counter-clockwise seen from outside.
    """

    label: int
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    @property
    def volume_mm3(self) -> float:
        """Enclosed volume by the divergence theorem; positive when normals point outward."""
        if not len(self.faces):
            return 0.0
        # About the centroid, so that large offsets from the origin cost no digits.
        a, b, c = np.moveaxis((self.vertices - self.vertices.mean(axis=0))[self.faces], 1, 0)
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@dataclass(frozen=True, eq=False)
class Scene:
    """All surfaces of one label map, in the order of their labels."""

    meshes: tuple[Mesh, ...]
