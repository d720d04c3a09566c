"""Named surfaces of a patient, as they travel from an operation to a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: World axes that an OBJ is written in: x to the patient's left and y to the back (DICOM's
#: LPS), or x to the right and y to the front (NIfTI's RAS).
WorldSpace = Literal["LPS", "RAS"]
#: How vertices and faces are stored in a GLB.
Compression = Literal["none", "draco"]
#: Faces that are looked at side by side: as the cache holds; where a sum over vertices follows.
_BLOCK, _LARGE_BLOCK = 1 << 16, 1 << 20
#: What a hidden face counts for beside one that is seen.
_HIDDEN = 1e-6


@dataclass(frozen=True, eq=False)
class Level:
    """A coarser form of a surface, to be shown from afar.

    Args:
        vertices: (N, 3) float64, RAS+ mm.
        faces: (M, 3) int, counter-clockwise seen from outside.
        error_mm: how far it is from the surface itself, as measured.
        contact: (M,) faces that a neighbour has, too; None for none.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    error_mm: float
    contact: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Extent:
    """Where the voxels are that a surface stands for.

    Args:
        low_mm: (3,) lowest RAS+ corner of the box of their outer faces.
        high_mm: (3,) its highest corner.
        tolerance_mm: (3,) how far a surface may bulge out of it.
    """

    low_mm: NDArray[np.float64]
    high_mm: NDArray[np.float64]
    tolerance_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """The closed surface of one structure.

    Args:
        label: its number in our table.
        vertices: (N, 3) float64, RAS+ mm.
        faces: (M, 3) int, counter-clockwise seen from outside.
        levels: coarser forms for the GLB, ever coarser.
        voxels: where its voxels are; the files are held to it.
        contact: (M,) faces that a neighbour has, too; None for none.
    """

    label: int
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    levels: tuple[Level, ...] = ()
    voxels: Extent | None = None
    contact: NDArray[np.bool_] | None = None

    @cached_property
    def volume_mm3(self) -> float:
        """Enclosed volume by the divergence theorem; positive when normals point outward."""
        total = 0.0
        for corners, axes, across in _blocks(self.vertices, self.faces, _BLOCK):
            total += sum(float(axis[corners[0]] @ a) for axis, a in zip(axes, across, strict=True))
        return total / 6

    @cached_property
    def area_mm2(self) -> float:
        """Of all faces."""
        blocks = _blocks(self.vertices, self.faces, _BLOCK)
        return sum(float(np.sqrt((across**2).sum(axis=0)).sum()) for _, _, across in blocks) / 2

    @property
    def normals(self) -> NDArray[np.float64]:
        """(N, 3) unit vectors out of the structure, one per vertex, weighted by area."""
        return normals(self.vertices, self.faces, self.contact)


@dataclass(frozen=True, eq=False)
class Scene:
    """All surfaces of one label map, in the order of their labels.

    Args:
        meshes: one per structure, RAS+ mm.
        space: the axes that the OBJ is written in; GLB has axes of its own.
        normals: the OBJ has normals too; the GLB always has.
        compression: of the GLB.
    """

    meshes: tuple[Mesh, ...]
    space: WorldSpace = "LPS"
    normals: bool = False
    compression: Compression = "none"


def normals(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    contact: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """(N, 3) unit vectors, one per vertex, weighted by the area of its faces.

    Where a structure meets its neighbour it has a sharp edge, and one normal for both sides of it
    would shade streaks on what is seen. So faces of contact, which lie hidden, count for
    nothing at vertices that have other faces.
    """
    total = np.zeros_like(vertices)
    for number, (corners, _, across) in enumerate(_blocks(vertices, faces, _LARGE_BLOCK)):
        if contact is not None:
            start = number * _LARGE_BLOCK
            across[:, contact[start : start + _LARGE_BLOCK]] *= _HIDDEN
        for corner in corners:
            for axis in range(3):
                total[:, axis] += np.bincount(corner, across[axis], len(vertices))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    # Where all faces of a vertex cancel, any direction is as good; readers want unit length.
    flat = length[:, 0] <= np.finfo(np.float64).tiny
    total[flat], length[flat] = (0.0, 0.0, 1.0), 1.0
    return np.asarray(total / length)


def _blocks(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
    """Faces piece by piece: (3, m) corners, (3, N) axes, (3, m) normals of twice the area.

    Axes are those of the vertices about their middle, so that an offset costs no digits.
    """
    if not len(faces):
        return
    axes = np.ascontiguousarray((vertices - vertices.mean(axis=0)).T)
    for start in range(0, len(faces), size):
        corners = np.ascontiguousarray(faces[start : start + size].T)
        u = [axis[corners[1]] - axis[corners[0]] for axis in axes]
        v = [axis[corners[2]] - axis[corners[0]] for axis in axes]
        across = [u[i] * v[j] - u[j] * v[i] for i, j in ((1, 2), (2, 0), (0, 1))]
        yield corners, axes, np.stack(across)
