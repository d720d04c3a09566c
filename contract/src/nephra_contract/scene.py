"""Named surfaces of a patient, as they travel from an operation to a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: World axes that an OBJ is written in: x to the patient's left and y to the back (DICOM's
#: LPS), or x to the right and y to the front (NIfTI's RAS).
WorldSpace = Literal["LPS", "RAS"]


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

    @property
    def normals(self) -> NDArray[np.float64]:
        """(N, 3) unit vectors out of the structure, one per vertex, weighted by area."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        across = np.cross(b - a, c - a)
        total = np.empty_like(self.vertices)
        for axis in range(3):
            each = np.repeat(across[:, axis], 3)
            total[:, axis] = np.bincount(self.faces.ravel(), each, len(self.vertices))
        length = np.linalg.norm(total, axis=1, keepdims=True)
        # Where all faces of a vertex cancel, any direction is as good; readers want unit length.
        flat = length[:, 0] <= np.finfo(np.float64).tiny
        total[flat], length[flat] = (0.0, 0.0, 1.0), 1.0
        return np.asarray(total / length)


@dataclass(frozen=True, eq=False)
class Scene:
    """All surfaces of one label map, in the order of their labels.

    Args:
        meshes: one per structure, RAS+ mm.
        space: the axes that the OBJ is written in; GLB has axes of its own.
    """

    meshes: tuple[Mesh, ...]
    space: WorldSpace = "LPS"
