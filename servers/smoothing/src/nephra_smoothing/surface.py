"""Triangle surfaces: from a field, made smooth, held to a volume."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.field import Field
from nephra_smoothing.topology import faults, pieces

#: A surface is of its volume within this share.
_VOLUME_SHARE = 1e-4
_FACES_AT_A_TIME = 1 << 17


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh.

    Args:
        points: (N, 3) float64, mm.
        faces: (M, 3) int64, counter-clockwise seen from outside.
    """

    points: NDArray[np.float64]
    faces: NDArray[np.int64]

    @cached_property
    def across(self) -> NDArray[np.float64]:
        """(M, 3): per face its normal, as long as twice its area, mm²."""
        return self._measured[0].T

    @property
    def face_volumes_mm3(self) -> NDArray[np.float64]:
        """(M,): the signed volumes of the faces with the centre; they sum to the enclosed one."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(3, M) normals as in `across`, (M,) volumes; some faces at a time, to stay small."""
        # About the centre, so that a large offset from the origin costs no digits.
        centred = np.ascontiguousarray((self.points - self.points.mean(axis=0)).T)
        across, volumes = np.empty((3, len(self.faces))), np.empty(len(self.faces))
        for first in range(0, len(self.faces), _FACES_AT_A_TIME):
            some = slice(first, first + _FACES_AT_A_TIME)
            a, b, c = (np.take(centred, self.faces[some, k], axis=1) for k in range(3))
            u, v = b - a, c - a
            # Row by row: several times as fast as numpy's cross product.
            rows = across[:, some]
            for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
                np.multiply(u[j], v[k], out=rows[i])
                rows[i] -= u[k] * v[j]
            volumes[some] = np.einsum("ij,ij->j", a, rows) / 6
        return across, volumes

    @cached_property
    def twice_areas_mm2(self) -> NDArray[np.float64]:
        """(M,): twice the area of each face."""
        rows = self.across.T
        return np.asarray(np.sqrt(np.einsum("ij,ij->j", rows, rows)))

    @property
    def volume_mm3(self) -> float:
        """The enclosed volume; positive when faces look outward."""
        return float(self.face_volumes_mm3.sum()) if len(self.faces) else 0.0

    @property
    def area_mm2(self) -> float:
        """The area of all faces."""
        return float(self.twice_areas_mm2.sum() / 2) if len(self.faces) else 0.0

    @property
    def normals(self) -> NDArray[np.float64]:
        """(N, 3) unit vectors outward, weighted by area; 0 where faces cancel."""
        total = np.empty_like(self.points)
        corners = np.ascontiguousarray(self.faces.T).ravel()
        for axis in range(3):
            each = np.tile(self.across[:, axis], 3)
            total[:, axis] = np.bincount(corners, each, len(self.points))
        length = np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)
        return np.asarray(total / length)

    @cached_property
    def pieces(self) -> NDArray[np.int64]:
        """(N,) the number of the connected piece that each vertex belongs to."""
        return pieces(self.faces, len(self.points))

    @cached_property
    def faults(self) -> NDArray[np.int64]:
        """The vertices at which the faces do not form a closed 2-manifold."""
        return faults(self.faces, len(self.points))

    def moved(self, points: NDArray[np.float64]) -> Surface:
        """The same faces over other points; what is known of the faces alone is kept."""
        made = Surface(points, self.faces)
        for known in ("pieces", "faults"):
            if known in self.__dict__:
                made.__dict__[known] = self.__dict__[known]
        return made

    def outward(self) -> Surface:
        """The same surface, wound so that it encloses a positive volume."""
        if self.volume_mm3 >= 0:
            return self
        return Surface(self.points, np.ascontiguousarray(self.faces[:, ::-1]))

    def scaled(self, factor: float) -> Surface:
        """Each connected piece larger by a factor, about its own centre."""
        size = np.bincount(self.pieces)
        centre = np.stack([np.bincount(self.pieces, x) / size for x in self.points.T], axis=1)
        about = centre[self.pieces]
        return self.moved(about + (self.points - about) * factor)


def flying_edges(field: Field, level: float = 0.0) -> Surface:
    """The surface where a field has the value `level`, by flying edges (Schroeder 2015).

    The field is at or below the level on the whole border of its grid, so the surface is closed.
    """
    return in_mm(*contour(field.values, level), field.affine)


def contour(
    values: NDArray[np.float32], level: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (N, 3) in grid indices, and faces (M, 3) for a grid whose axes are left-handed.

    Args:
        values: (I, J, K) in C order.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    image = vtkImageData()
    # VTK's first index runs fastest, numpy's last: the axes change places, no copy is made.
    image.SetDimensions(*values.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    edges.ComputeScalarsOff()
    edges.SetValue(0, level)
    edges.Update()
    found = edges.GetOutput()
    if not found.GetNumberOfPolys():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    points = vtk_to_numpy(found.GetPoints().GetData())[:, ::-1].astype(np.float64)
    faces = vtk_to_numpy(found.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)
    return points, faces


def in_mm(
    index: NDArray[np.float64], faces: NDArray[np.int64], affine: NDArray[np.float64]
) -> Surface:
    """A contour (see there) in RAS+ mm, its faces outward."""
    # Its faces look outward; that its axes changed places turned them round, a mirror does again.
    if np.linalg.det(affine[:3, :3]) > 0:
        faces = np.ascontiguousarray(faces[:, ::-1])
    return Surface(index @ affine[:3, :3].T + affine[:3, 3], faces)


def windowed_sinc(surface: Surface, pass_band: float, iterations: int) -> Surface:
    """Smooth without shrinking by a low-pass filter on the mesh (Taubin, Zhang & Golub 1996).

    Args:
        pass_band: 0..2; lower is smoother.
        iterations: degree of the filter's polynomial.
    """
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkFiltersCore import vtkWindowedSincPolyDataFilter

    smoother = vtkWindowedSincPolyDataFilter()
    smoother.SetInputData(polydata(surface))
    smoother.SetNumberOfIterations(iterations)
    smoother.SetPassBand(pass_band)
    smoother.BoundarySmoothingOff()
    smoother.FeatureEdgeSmoothingOff()
    smoother.NonManifoldSmoothingOn()
    smoother.NormalizeCoordinatesOn()
    smoother.Update()
    points = vtk_to_numpy(smoother.GetOutput().GetPoints().GetData()).astype(np.float64)
    return surface.moved(points)


def polydata(surface: Surface) -> Any:
    """The surface as a `vtkPolyData` of its own memory."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(surface.points), deep=1))
    offsets = np.arange(0, 3 * len(surface.faces) + 1, 3, dtype=np.int64)
    cells = vtkCellArray()
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=1),
        numpy_to_vtkIdTypeArray(surface.faces.ravel().astype(np.int64), deep=1),
    )
    made = vtkPolyData()
    made.SetPoints(points)
    made.SetPolys(cells)
    return made


def hold_volume(surface: Surface, volume_mm3: float) -> Surface:
    """Move the whole surface along its normals by one distance until it encloses `volume_mm3`.

    The volume's derivative by that distance is the area, so this is Newton's method.
    """
    held = surface
    for _ in range(4):
        missing_mm3 = volume_mm3 - held.volume_mm3
        if abs(missing_mm3) <= _VOLUME_SHARE * volume_mm3:
            return held
        distance_mm = missing_mm3 / held.area_mm2
        held = held.moved(held.points + held.normals * distance_mm)
    if abs(volume_mm3 - held.volume_mm3) <= _VOLUME_SHARE * volume_mm3:
        return held
    # Islands of a few faces: for them the way is long, and their normals say little.
    return surface.scaled(float(np.cbrt(volume_mm3 / surface.volume_mm3)))
