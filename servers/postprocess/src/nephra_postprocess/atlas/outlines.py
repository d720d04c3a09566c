"""Kidneys on a coarse grid: what a template is laid over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract import labels as names
from nephra_contract.merge import regrid
from nephra_contract.sides import assign_sides, midline_x_mm
from nephra_contract.volume import LabelMap, Volume, corners
from nephra_postprocess.coarse import LESIONS, SIDES
from nephra_postprocess.region import box_of, present, thinned

#: Step of the grid that kidneys are compared on.
FIT_MM = 3.0
#: What is smaller is no kidney but noise: half a millilitre.
_LEAST_CELLS = 20
#: What the grid reaches beyond the kidneys.
_ROOM_MM = 36.0
#: Half the width of the bay of the renal sinus.
_SINUS_MM = 15.0

Masks = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Outlines:
    """The kidneys of a label map, by side; only sides that are there.

    Args:
        grid: without values, isotropic, along the patient's axes, RAS+ mm.
        plain: (X, Y, Z) each kidney with its lesions.
        filled: the same with the sinus closed: masks differ in how much of it they leave out,
            the outline is what they share.
    """

    grid: Volume
    plain: Masks
    filled: Masks

    @classmethod
    def of(cls, labels: LabelMap) -> Self:
        """Of a label map with axes along right, front, head.

        A lesion larger than half of its kidney has pushed it out of shape and is left out.
        """
        box = box_of(labels, present(labels.voxels) & {*names.KIDNEYS, *LESIONS})
        if box is None:
            return cls(labels, {}, {})
        ends = corners(labels.crop(box))
        low = np.round(ends.min(axis=0) - _ROOM_MM, 6)
        high = np.round(ends.max(axis=0) + _ROOM_MM, 6)
        affine = np.diag([FIT_MM, FIT_MM, FIT_MM, 1.0])
        affine[:3, 3] = low
        shape = tuple((np.ceil((high - low) / FIT_MM).astype(int) + 1).tolist())
        grid = Volume(np.broadcast_to(np.zeros(1, np.uint8), shape), affine)
        coarse = regrid(labels.crop(box), grid)
        if (coarse.voxels == names.KIDNEY).any():
            coarse = assign_sides(coarse, midline_x_mm(thinned(labels)))
        plain = _with_lesions(coarse)
        return cls(grid, plain, {s: _closed(mask) for s, mask in plain.items()})

    def points(self, side: str) -> NDArray[np.float64]:
        """(N, 3) world mm of a kidney's cells, its sinus closed."""
        return self.grid.to_world(np.argwhere(self.filled[side]))


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0..1 (Dice 1945)."""
    both = int(one.sum()) + int(other.sum())
    return round(2 * int((one & other).sum()) / max(both, 1), 4)


def _with_lesions(coarse: LabelMap) -> Masks:
    kidneys = {s: coarse.voxels == n for s, n in SIDES.items()}
    kidneys = {s: mask for s, mask in kidneys.items() if mask.sum() >= _LEAST_CELLS}
    pieces, count = cc3d.connected_components(coarse.mask(LESIONS), connectivity=26, return_N=True)
    whole = dict(kidneys)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        if box is None or number > count or not kidneys:
            continue
        wide = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)
        lesion = pieces[wide] == number
        around = ndimage.binary_dilation(lesion, iterations=2)
        touching = {s: int((around & mask[wide]).sum()) for s, mask in kidneys.items()}
        side = max(touching, key=lambda s: (touching[s], s))
        if touching[side] and lesion.sum() < 0.5 * kidneys[side].sum():
            whole[side] = whole[side].copy()
            whole[side][wide] |= lesion
    return whole


def _closed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with bays and holes up to twice `_SINUS_MM` wide filled."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    pad = int(np.ceil(_SINUS_MM / FIT_MM)) + 1
    inner = (slice(pad, -pad),) * 3
    step_mm = (FIT_MM,) * 3
    grown = edt.edt(~np.pad(mask[box], pad), anisotropy=step_mm) <= _SINUS_MM
    shrunk = (edt.edt(grown, anisotropy=step_mm) > _SINUS_MM)[inner]
    closed = mask.copy()
    closed[box] = ndimage.binary_fill_holes(shrunk | mask[box])
    return closed
