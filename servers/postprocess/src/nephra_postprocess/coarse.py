"""A crop on a coarse grid along the patient's axes, for what needs no voxel's sharpness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.merge import regrid
from nephra_contract.sides import assign_sides
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess.region import local_frame

SIDES: Mapping[str, int] = {"right": names.KIDNEY_RIGHT, "left": names.KIDNEY_LEFT}
LESIONS = (names.TUMOR, *names.CYSTS)


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

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) indices → mm in the crop's local frame."""
        return np.asarray(np.linalg.inv(self.to_grid), dtype=np.float64)

    def grid(self, crop: LabelMap) -> Volume:
        """The grid in the patient, RAS+ mm; without values."""
        affine = self.affine.copy()
        affine[:3, 3] += crop.affine[:3, 3]
        return Volume(np.broadcast_to(np.zeros(1, np.uint8), self.voxels.shape), affine)

    def sided(self, midline: Callable[[], float]) -> Self:
        """With a side for every kidney.

        Args:
            midline: finds local x of the patient's midline, if a kidney has no side yet.
        """
        if not self.within((names.KIDNEY,)).any():
            return self
        labels = LabelMap(self.voxels, self.affine)
        return replace(self, voxels=assign_sides(labels, midline()).voxels)

    def between_mm(self) -> float | None:
        """Local x half way between the kidneys; None where one side is there only."""
        counts = [(self.voxels == n).sum(axis=(1, 2)) for n in SIDES.values()]
        if not all(c.any() for c in counts):
            return None
        x = np.arange(self.voxels.shape[0])
        middle = sum(float((c * x).sum() / c.sum()) for c in counts) / 2
        return float(self.affine[0, 3] + self.step_mm * middle)

    def within(self, labels: tuple[int, ...]) -> NDArray[np.bool_]:
        """(X, Y, Z) where any of some labels is."""
        table = np.zeros(256, dtype=bool)
        table[list(labels)] = True
        return np.asarray(table[self.voxels])
