"""The perirenal space: the fat that a kidney lies in, between the leaves of its fascia.

The space is wide behind and below the kidney and thin in front of it (Meyers' dynamic
radiology of the abdomen; Thornton et al. 2018 measure it on CT). It is drawn as the Minkowski
sum of the kidney and an ellipsoid that sits off centre: one anisotropic distance transform on a
coarse grid in patient axes. It ends at other organs, and before the muscle that lies on bones,
lungs and back muscles and that masks seldom name. The renal sinus, where vessels and the renal
pelvis run, is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Self

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap, bounding_box
from nephra_postprocess.coarse import LESIONS, SIDES, Coarse
from nephra_postprocess.region import Box, local_frame

#: Half the width of the mouth of the renal sinus.
_SINUS_MM = 12.0
#: Fat beyond a neck narrower than twice this, in cells, belongs to another space.
_NECK_CELLS = 2
#: Places between a cell and the kidney at which a CT is looked at.
_LOOKS = 16
#: Voxels that are looked at at once.
_SLAB_VOXELS = 1 << 20
#: What lies unnamed on a structure, and how thick it is: diaphragm and the muscles between the
#: ribs; crura; quadratus lumborum on the back muscles; fascia; the abdominal wall under the skin.
_CLEARANCES_MM: tuple[tuple[float, tuple[int, ...]], ...] = (
    # lungs, vertebrae, ribs
    (5.0, (*range(10, 15), *range(25, 51), *range(92, 116), names.SPINE, names.RIBS)),
    # autochthonous muscles
    (9.0, (86, 87, names.SUBCUTANEOUS_FAT)),
    # iliopsoas
    (3.0, (88, 89)),
)


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

    def times(self, factor: float) -> Self:
        """All reaches multiplied."""
        return type(self)(**{k: v * factor for k, v in vars(self).items()})

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
class Surroundings:
    """What is the same for both sides.

    Args:
        coarse: kidneys with sides, and room for the margins around.
        solid: (X, Y, Z) where other structures are.
        closed: (X, Y, Z) where no structure is, but no perirenal fat either.
        fatty: (X, Y, Z) where a CT has the density of fat; None without a CT.
        midline_mm: x in the crop's local frame that no space crosses; None where one side
            is there only.
    """

    coarse: Coarse
    solid: NDArray[np.bool_]
    closed: NDArray[np.bool_]
    fatty: NDArray[np.bool_] | None
    midline_mm: float | None

    @classmethod
    def of(cls, coarse: Coarse, fatty: NDArray[np.bool_] | None) -> Self:
        """The structures around the kidneys and what lies on them, and the renal sinuses."""
        grid_mm = (coarse.step_mm,) * 3
        organs = coarse.within((*SIDES.values(), *LESIONS))
        # Of the kidneys alone: the groove beside a tumour is no sinus, fat lies in it.
        closed = _closing(coarse.within(tuple(SIDES.values())), coarse.step_mm) & ~organs
        # The CT itself shows where muscle is.
        for thick_mm, labels in _CLEARANCES_MM if fatty is None else ():
            wall = coarse.within(labels)
            if wall.any():
                closed |= edt.edt(~wall, anisotropy=grid_mm) <= thick_mm
        solid = (coarse.voxels != 0) & (coarse.voxels != names.PERIRENAL_FAT) & ~organs
        return cls(coarse, solid, closed & ~solid, fatty, coarse.between_mm())


def perirenal_space(around: Surroundings, side: str, margins: Margins) -> Space | None:
    """The space around one kidney, its tumour and its cysts.

    Args:
        around: kidneys with sides, and what bounds the space.
        side: `right` or `left`.
        margins: its reach.

    Returns:
        The space, or None if there is no kidney on that side.
    """
    coarse = around.coarse
    kidney = coarse.voxels == SIDES[side]
    if not kidney.any():
        return None
    seeds = kidney | _own_lesions(coarse.voxels, kidney, side)
    depth = _depth(seeds, margins.around(side), coarse.step_mm)
    if around.midline_mm is not None:
        x_mm = np.arange(depth.shape[0]) * coarse.step_mm + coarse.affine[0, 3]
        beyond = x_mm < around.midline_mm if side == "right" else x_mm > around.midline_mm
        depth[beyond] = -1.0
    depth[around.closed] = -1.0
    empty = (depth > 0) & ~around.solid
    fatty = around.fatty
    own = (
        _reached(empty, seeds)
        if fatty is None
        else _seen(_hanging(empty & fatty, seeds), fatty, seeds)
    )
    # Half a cell before other structures it is 0: the fascia lies between them and the fat.
    depth[~(own | seeds)] = -1.0
    return Space(depth, coarse.to_grid)


def fill(space: Space, crop: LabelMap) -> Iterator[tuple[Box, NDArray[np.bool_]]]:
    """Where a space is on the crop's own grid: slabs of it, and (X, Y, Z) bool in each."""
    matrix = space.to_grid @ local_frame(crop)
    box = _box_of(space, matrix, crop.shape)
    linear: NDArray[np.float64] = matrix[:3, :3]
    turned: NDArray[np.float64] = linear
    if np.count_nonzero(linear - np.diag(np.diagonal(linear))) == 0:
        turned = np.diagonal(linear)  # scipy is several times faster along the axes
    sizes = [s.stop - s.start for s in box]
    thick = max(1, _SLAB_VOXELS // max(sizes[0] * sizes[1], 1))
    for start in range(box[2].start, box[2].stop, thick):
        slab = (box[0], box[1], slice(start, min(start + thick, box[2].stop)))
        first = np.array([s.start for s in slab])
        depth = ndimage.affine_transform(
            space.depth, turned, matrix[:3, 3] + linear @ first,
            tuple(s.stop - s.start for s in slab), np.float32, order=1, cval=-1.0,
        )  # fmt: skip
        yield slab, depth > 0


def _box_of(space: Space, matrix: NDArray[np.float64], shape: tuple[int, int, int]) -> Box:
    """The part of a crop that a space may reach into.

    Args:
        space: on its coarse grid.
        matrix: (4, 4) indices of the crop → of the space's grid.
        shape: of the crop.
    """
    found = bounding_box(space.depth > 0, 1)
    if found is None:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    ends = np.array(list(product(*((s.start, s.stop) for s in found))), dtype=np.float64)
    back = np.linalg.inv(matrix)
    there = ends @ back[:3, :3].T + back[:3, 3]
    low = np.clip(np.floor(there.min(axis=0)), 0, shape).astype(int)
    high = np.clip(np.ceil(there.max(axis=0)) + 1, 0, shape).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _depth(
    seeds: NDArray[np.bool_], reach_mm: NDArray[np.float64], step_mm: float
) -> NDArray[np.float32]:
    """How deep each cell lies within the reach of the seeds, in parts of the reach."""
    half = reach_mm.sum(axis=1) / 2
    offset = np.rint((reach_mm[:, 1] - reach_mm[:, 0]) / 2 / step_mm).astype(int)
    # Seeds that move beyond the grid's end are there all the same.
    room = [(max(-o, 0), max(o, 0)) for o in offset.tolist()]
    moved = np.zeros([n + a + b for n, (a, b) in zip(seeds.shape, room, strict=True)], dtype=bool)
    into = tuple(slice(b, b + n) for n, (_, b) in zip(seeds.shape, room, strict=True))
    back = tuple(slice(a, a + n) for n, (a, _) in zip(seeds.shape, room, strict=True))
    moved[into] = seeds
    distance = edt.edt(~moved, anisotropy=tuple(step_mm / half))[back]
    return np.asarray(1.0 - distance, dtype=np.float32)


def _closing(mask: NDArray[np.bool_], step_mm: float) -> NDArray[np.bool_]:
    """A mask with its bays and holes, up to twice `_SINUS_MM` wide, filled."""
    grid_mm = (step_mm,) * 3
    pad = int(np.ceil(_SINUS_MM / step_mm)) + 1
    grown = edt.edt(~np.pad(mask, pad), anisotropy=grid_mm) <= _SINUS_MM
    shrunk = edt.edt(grown, anisotropy=grid_mm) > _SINUS_MM
    return np.asarray(shrunk[pad:-pad, pad:-pad, pad:-pad] | mask)


def _hanging(fatty: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The fat that hangs together with a kidney by more than a thread.

    Threads of fat lead through the abdominal wall and along vessels into other spaces.
    """
    core = ndimage.binary_erosion(fatty | seeds, iterations=_NECK_CELLS, border_value=1)
    core = _reached(core, seeds) | seeds
    return np.asarray(ndimage.binary_dilation(core, iterations=_NECK_CELLS + 1) & fatty)


def _seen(
    own: NDArray[np.bool_], fatty: NDArray[np.bool_], seeds: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """What no muscle or organ hides from the nearest place of the kidney.

    The fascia and vessels hide nothing: they are thinner than two cells.
    """
    cells, kidney = np.argwhere(own), np.argwhere(seeds & ~ndimage.binary_erosion(seeds))
    if not len(cells):
        return own
    far, nearest = cKDTree(kidney).query(cells)
    share = (np.arange(_LOOKS) + 0.5) / _LOOKS
    way = kidney[nearest] - cells
    index = np.rint(cells[:, None] + share[:, None] * way[:, None]).astype(int)
    hidden = ~(fatty | seeds)[tuple(np.moveaxis(index, -1, 0))]
    found = np.zeros_like(own)
    found[tuple(cells[hidden.mean(axis=1) * far < 2].T)] = True
    return found


def _own_lesions(
    coarse: NDArray[np.uint8], kidney: NDArray[np.bool_], side: str
) -> NDArray[np.bool_]:
    """Tumour and cyst voxels that lie nearer to this kidney than to the other one."""
    lesions = np.isin(coarse, LESIONS)
    other = coarse == next(n for s, n in SIDES.items() if s != side)
    if not lesions.any() or not other.any():
        return np.asarray(lesions)
    return np.asarray(lesions & (edt.edt(~kidney) <= edt.edt(~other)))


def _reached(space: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pieces of a space that touch the kidney; fat beyond another organ is not its own."""
    pieces = cc3d.connected_components(space | seeds, connectivity=6)
    own = np.zeros(int(pieces.max()) + 1, dtype=bool)
    own[np.unique(pieces[seeds])] = True
    return np.asarray(own[pieces])
