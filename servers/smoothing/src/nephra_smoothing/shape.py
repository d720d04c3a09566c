"""What a surface is made of, what it is to be like, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap
from nephra_smoothing.blocks import pays
from nephra_smoothing.surface import Surface

#: What a surface may lack.
OPEN, OFF = "not a closed 2-manifold", "off the volume of its voxels"
LOST, BROKEN = "without some small part", "in more pieces than the mask"
_SEVERITY = {BROKEN: 1, LOST: 2, OFF: 3, OPEN: 4}


@dataclass(frozen=True)
class Wish:
    """What a surface is to be like.

    Args:
        thin: a tube: no cells larger than voxels, little smoothing of the mesh.
        smoothing_mm: standard deviation of the blur; None: by the cells' size.
        decimation_error_mm: 0 keeps all triangles.
        most_triangles: per structure.
    """

    thin: bool
    smoothing_mm: float | None
    decimation_error_mm: float
    most_triangles: int


@dataclass(frozen=True, eq=False)
class Structure:
    """One label within its bounding box.

    Args:
        mask: (I, J, K) bool.
        affine: (4, 4) voxel → RAS+ mm, of the box.
    """

    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]

    @cached_property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) distances between neighbouring voxels."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def volume_mm3(self) -> float:
        """Voxels times the volume of one."""
        return float(np.count_nonzero(self.mask) * self.voxel_mm3)

    @cached_property
    def is_sparse(self) -> bool:
        """Whether it fills so little of its box that it is worked on in blocks."""
        return pays(self.mask)

    def crop(self, mask: NDArray[np.bool_], box: tuple[slice, slice, slice]) -> Structure:
        """What is left of it in a mask of its grid, within a box."""
        part = LabelMap(mask.view(np.uint8), self.affine).crop(box)
        return Structure(np.ascontiguousarray(mask[box]), part.affine)

    @cached_property
    def radius_mm(self) -> float:
        """Three times volume over area: the radius, if it were a ball; of a tube half of that.

        Of the voxels' outer faces two thirds are taken: so much more than a ball they have.
        """
        area_mm2 = 0.0
        for axis in range(3):
            sides = np.delete(self.spacing_mm, axis)
            steps = _steps(self.mask, axis)
            ends = np.take(self.mask, (0, -1), axis=axis)
            area_mm2 += (steps + np.count_nonzero(ends)) * float(np.prod(sides))
        return 3 * self.volume_mm3 / (area_mm2 * 2 / 3)


@dataclass(frozen=True, eq=False)
class Made:
    """A surface and how it came about.

    Args:
        surface: in RAS+ mm.
        method: the attempt that it comes from.
        decimation_error_mm: measured.
        faults: what the best attempt still lacks; empty as a rule.
        lost_mm3: the largest part of the voxels that it leaves out.
        islands: whether there are small ones among its pieces.
    """

    surface: Surface
    method: str
    decimation_error_mm: float = 0.0
    faults: tuple[str, ...] = ()
    lost_mm3: float = 0.0
    islands: bool = False

    @property
    def severity(self) -> int:
        """Of the worst fault; 0 without any, 1 if it only looks worse."""
        return max((_SEVERITY[fault] for fault in self.faults), default=0)


def _steps(mask: NDArray[np.bool_], axis: int) -> int:
    """How often voxels change along an axis; plane by plane, so that no copy is made of all."""
    if axis == 0:
        return sum(int(np.count_nonzero(a != b)) for a, b in pairwise(mask))
    return sum(int(np.count_nonzero(np.diff(plane, axis=axis - 1))) for plane in mask)
