"""The perirenal space: the fat that a kidney lies in, between the leaves of its fascia.

The space is wide behind and below the kidney and thin in front of it (Meyers' dynamic
radiology of the abdomen; Thornton et al. 2018 measure it on CT). It is drawn as the Minkowski
sum of the kidney and an ellipsoid that sits off centre: one anisotropic distance transform on a
coarse grid in patient axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract import labels as names
from nephra_contract.merge import regrid
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess.region import local_frame

SIDES: Mapping[str, int] = {"right": names.KIDNEY_RIGHT, "left": names.KIDNEY_LEFT}
LESIONS = (names.TUMOR, *names.CYSTS)


@dataclass(frozen=True)
class Margins:
    """How far the space reaches beyond the kidney, in mm, in the patient's directions."""

    lateral_mm: float
    medial_mm: float
    anterior_mm: float
    posterior_mm: float
    superior_mm: float
    inferior_mm: float

    @property
    def largest_mm(self) -> float:
        """The farthest reach."""
        return float(max(vars(self).values()))

    def around(self, side: str) -> NDArray[np.float64]:
        """(3, 2) reach towards lower and higher world x, y, z, in mm."""
        right, left = (
            (self.lateral_mm, self.medial_mm)
            if side == "right"
            else (self.medial_mm, self.lateral_mm)
        )
        return np.array(
            [
                [left, right],
                [self.posterior_mm, self.anterior_mm],
                [self.inferior_mm, self.superior_mm],
            ]
        )


@dataclass(frozen=True)
class Space:
    """The perirenal space of one side on its coarse grid.

    Args:
        depth: (X, Y, Z) float32, above 0 inside, in parts of the margin, smooth at 0.
        to_grid: (4, 4) mm in the crop's local frame → indices of `depth`.
    """

    depth: NDArray[np.float32]
    to_grid: NDArray[np.float64]


@dataclass(frozen=True)
class Coarse:
    """A crop on a coarse grid along the patient's axes.

    Args:
        voxels: (X, Y, Z) labels.
        to_grid: (4, 4) mm in the crop's local frame → indices.
        step_mm: of the grid.
    """

    voxels: NDArray[np.uint8]
    to_grid: NDArray[np.float64]
    step_mm: float

    @classmethod
    def of(cls, crop: LabelMap, step_mm: float) -> Self:
        """A crop (axes along right, front, head) by nearest neighbour."""
        frame = local_frame(crop)
        last = np.array(crop.shape) - 1
        unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, 8).T
        corners_mm = (unit * last) @ frame[:3, :3].T
        low, high = corners_mm.min(axis=0), corners_mm.max(axis=0)
        shape = np.ceil(np.round((high - low) / step_mm, 6)).astype(int) + 1
        grid = np.diag([step_mm, step_mm, step_mm, 1.0])
        grid[:3, 3] = np.round(low, 9)
        empty = Volume(np.broadcast_to(np.zeros(1, np.uint8), tuple(shape)), grid)
        voxels = regrid(LabelMap(crop.voxels, frame), empty).voxels
        return cls(voxels, np.linalg.inv(grid), step_mm)


def perirenal_space(
    coarse: Coarse, side: str, margins: Margins, midline_mm: float | None
) -> Space | None:
    """The space around one kidney, its tumour and its cysts.

    Args:
        coarse: kidneys with sides, and room for the margins around.
        side: `right` or `left`.
        margins: its reach.
        midline_mm: x in the crop's local frame that the space does not cross.

    Returns:
        The space, or None if there is no kidney on that side.
    """
    voxels, grid_mm = coarse.voxels, coarse.step_mm
    kidney = voxels == SIDES[side]
    if not kidney.any():
        return None
    seeds = kidney | _own_lesions(voxels, kidney, side)
    reach = margins.around(side)
    half = reach.sum(axis=1) / 2
    offset = np.rint((reach[:, 1] - reach[:, 0]) / 2 / grid_mm).astype(int)
    distance = edt.edt(~_moved(seeds, offset), anisotropy=tuple(grid_mm / half))
    depth = np.asarray(1.0 - distance, dtype=np.float32)
    if midline_mm is not None:
        x_mm = np.arange(depth.shape[0]) * grid_mm + np.linalg.inv(coarse.to_grid)[0, 3]
        depth[(x_mm < midline_mm) if side == "right" else (x_mm > midline_mm)] = -1.0
    solid = (voxels != 0) & (voxels != names.PERIRENAL_FAT) & ~seeds
    open_space = (depth > 0) & ~solid
    depth[~_reached(open_space, seeds)] = -1.0
    return Space(depth, coarse.to_grid)


def fill(space: Space, crop: LabelMap) -> NDArray[np.bool_]:
    """Where a space is on the crop's own grid; (X, Y, Z) bool."""
    matrix = space.to_grid @ local_frame(crop)
    linear: NDArray[np.float64] = matrix[:3, :3]
    if np.count_nonzero(linear - np.diag(np.diagonal(linear))) == 0:
        linear = np.diagonal(linear)  # scipy is several times faster along the axes
    depth = ndimage.affine_transform(
        space.depth, linear, matrix[:3, 3], crop.shape, np.float32, order=1, cval=-1.0
    )
    return np.asarray(depth > 0)


def _own_lesions(
    coarse: NDArray[np.uint8], kidney: NDArray[np.bool_], side: str
) -> NDArray[np.bool_]:
    """Tumour and cyst voxels that lie nearer to this kidney than to the other one."""
    lesions = np.isin(coarse, LESIONS)
    other = coarse == next(n for s, n in SIDES.items() if s != side)
    if not lesions.any() or not other.any():
        return np.asarray(lesions)
    return np.asarray(lesions & (edt.edt(~kidney) <= edt.edt(~other)))


def _moved(mask: NDArray[np.bool_], offset: NDArray[np.int_]) -> NDArray[np.bool_]:
    """A mask moved by whole cells; what leaves the grid is gone."""
    moved = np.zeros_like(mask)
    into = tuple(slice(max(o, 0), n + min(o, 0)) for o, n in zip(offset, mask.shape, strict=True))
    out_of = tuple(
        slice(max(-o, 0), n + min(-o, 0)) for o, n in zip(offset, mask.shape, strict=True)
    )
    moved[into] = mask[out_of]
    return moved


def _reached(space: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pieces of a space that touch the kidney; fat beyond another organ is not its own."""
    pieces = cc3d.connected_components(space | seeds, connectivity=6)
    own = np.zeros(int(pieces.max()) + 1, dtype=bool)
    own[np.unique(pieces[seeds])] = True
    return np.asarray(own[pieces])
