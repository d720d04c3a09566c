"""A template anatomy carried to a patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract import labels as names
from nephra_contract.merge import regrid
from nephra_contract.nifti import read_labels
from nephra_contract.volume import LabelMap, Volume, corners
from nephra_postprocess import registration
from nephra_postprocess.region import box_of, present

SIDES: Mapping[str, int] = {"right": names.KIDNEY_RIGHT, "left": names.KIDNEY_LEFT}
LESIONS = (names.TUMOR, *names.CYSTS)
#: Labels that say the same of a patient: where the patient's mask has one, the template's go.
_FAMILIES = (names.KIDNEYS, (names.TUMOR,), names.CYSTS, names.URETERS)
_FIT_MM = 3.0
_LATTICE_MM = 4.5
#: Half the width of the bay of the renal sinus.
_SINUS_MM = 15.0


@cache
def packaged() -> LabelMap:
    """The template that comes with this package.

    It is `Phantom(4300).labels(grid)` of nephra's own phantom, at rest of phase A, on a grid of
    176 x 176 x 150 voxels of 2 mm: synthetic, no patient's data.
    """
    with as_file(files("nephra_postprocess").joinpath("template.nii.gz")) as path:
        return read_labels(path)


@dataclass(frozen=True)
class Carried:
    """A template in a patient's place.

    Args:
        voxels: (X, Y, Z) on the patient's grid.
        kidney_dice: by side, of the carried kidney and the patient's, each with lesions and sinus.
        jacobian_min: of the map; above 0 nothing folds.
    """

    voxels: NDArray[np.uint8]
    kidney_dice: dict[str, float]
    jacobian_min: float


def without_lesions(template: LabelMap) -> LabelMap:
    """The template with its tumour and cysts turned into the kidney they lie in.

    What is ill in a template says nothing of a patient.
    """
    box = box_of(template, (*SIDES.values(), *LESIONS))
    if box is None:
        return template
    part = template.crop(box)
    lesions, kidney = part.mask(LESIONS), part.mask(tuple(SIDES.values()))
    if not lesions.any() or not kidney.any():
        return template
    _, nearest = ndimage.distance_transform_edt(
        ~kidney, sampling=template.spacing_mm, return_indices=True
    )
    voxels = template.voxels.copy()
    voxels[box][lesions] = part.voxels[tuple(axis[lesions] for axis in nearest)]
    return template.like(voxels)


def kidney_regions(labels: LabelMap) -> dict[str, NDArray[np.bool_]]:
    """By side, the whole kidney with its lesions and its sinus; only sides that are there.

    Masks differ in how much of the sinus they leave out; the outline is what they share.
    A lesion larger than half of its kidney has pushed it out of shape and is left out.
    """
    kidneys = {s: labels.voxels == n for s, n in SIDES.items()}
    kidneys = {s: mask for s, mask in kidneys.items() if mask.any()}
    pieces, count = cc3d.connected_components(labels.mask(LESIONS), connectivity=26, return_N=True)
    for number in range(1, count + 1):
        lesion = pieces == number
        around = ndimage.binary_dilation(lesion, iterations=2)
        touching = {s: int((around & mask).sum()) for s, mask in kidneys.items()}
        side = max(touching, key=lambda s: (touching[s], s))
        if touching[side] and lesion.sum() < 0.5 * kidneys[side].sum():
            kidneys[side] = kidneys[side] | lesion
    return {s: _closed(mask, labels.spacing_mm) for s, mask in kidneys.items()}


def carry(patient: LabelMap, template: LabelMap, sample_mm: float) -> Carried:
    """Lay a template over a patient's kidneys.

    Args:
        patient: axes along right, front, head; kidneys with sides.
        template: the same; at least one kidney on a side that the patient has.
        sample_mm: the template is looked up on about this grid, then repeated.
    """
    grid, outlines = _outlines(patient)
    fixed, moving = _points(grid, outlines), _points(*_outlines(template))
    sides = [s for s in SIDES if s in fixed and s in moving]
    pushes = {s: registration.fit_affine(moving[s], fixed[s]) for s in sides}
    common = registration.fit_common([(pushes[s], moving[s]) for s in sides])
    steps = [max(1, round(sample_mm / s)) for s in patient.spacing_mm]
    blocks = [
        max(1, round(_LATTICE_MM / (s * n))) for s, n in zip(patient.spacing_mm, steps, strict=True)
    ]
    lattice, kidneys = _lattice(patient, steps, blocks, sides)
    warp = registration.blend(
        kidneys,
        {s: registration.inverse(a) for s, a in pushes.items()},
        registration.inverse(common),
        lattice,
    )
    sampled = _look_up(template, warp, patient, steps, blocks)
    thin = LabelMap(sampled, patient.affine @ np.diag([*map(float, steps), 1.0]))
    dice = _kidney_dice(thin, grid, outlines, sides)
    return Carried(_repeat(sampled, steps, patient.shape), dice, warp.jacobian_min)


def compose(patient: NDArray[Any], carried: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The carried template under the patient's own voxels.

    Structures that the patient's mask has come from it alone; where the template's would
    stick out, its fat is put in their place, if it has any.
    """
    own = present(patient)
    gone = own | {n for family in _FAMILIES if own & set(family) for n in family}
    table = np.arange(256, dtype=np.uint8)
    fat = names.PERIRENAL_FAT if (carried == names.PERIRENAL_FAT).any() else 0
    for number in gone:
        table[number] = 0 if names.PERIRENAL_FAT in gone else fat
    return np.where(patient != 0, patient, table[carried]).astype(np.uint8)


def _outlines(labels: LabelMap) -> tuple[Volume, dict[str, NDArray[np.bool_]]]:
    """A coarse isotropic grid around the kidneys, and by side the whole kidney on it."""
    box = box_of(labels, (*SIDES.values(), *LESIONS), 2 * _SINUS_MM)
    if box is None:
        return labels, {}
    ends = corners(labels.crop(box))
    low, high = np.round(ends.min(axis=0), 6), np.round(ends.max(axis=0), 6)
    affine = np.diag([_FIT_MM, _FIT_MM, _FIT_MM, 1.0])
    affine[:3, 3] = low
    shape = tuple((np.ceil((high - low) / _FIT_MM).astype(int) + 1).tolist())
    grid = Volume(np.broadcast_to(np.zeros(1, np.uint8), shape), affine)
    return grid, kidney_regions(regrid(labels.crop(box), grid))


def _closed(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """A mask with bays and holes up to twice `_SINUS_MM` wide filled."""
    pad = [int(np.ceil(_SINUS_MM / s)) + 1 for s in spacing_mm]
    wide = np.pad(mask, [(p, p) for p in pad])
    grown = edt.edt(~wide, anisotropy=spacing_mm) <= _SINUS_MM
    closed = edt.edt(grown, anisotropy=spacing_mm) > _SINUS_MM
    inner = tuple(slice(p, -p) for p in pad)
    return np.asarray(ndimage.binary_fill_holes(closed[inner] | mask))


def _points(
    grid: Volume, outlines: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.float64]]:
    """By side, (N, 3) world mm of a kidney's voxels."""
    return {s: grid.to_world(np.argwhere(mask)) for s, mask in outlines.items()}


def _lattice(
    patient: LabelMap, steps: list[int], blocks: list[int], sides: list[str]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.bool_]]]:
    """(4, 4) of a coarse lattice over the whole grid, and the kidneys on it."""
    stride = [n * b for n, b in zip(steps, blocks, strict=True)]
    shape = tuple(-(-(n - 1) // s) + 1 for n, s in zip(patient.shape, stride, strict=True))
    affine = patient.affine @ np.diag([*map(float, stride), 1.0])
    kidneys = {}
    for side in sides:
        mask = np.zeros(shape, dtype=bool)
        for index in np.argwhere(_strided(patient, stride) == SIDES[side]):
            mask[tuple(index)] = True
        if not mask.any():
            where = np.argwhere(patient.voxels == SIDES[side]).mean(axis=0) / stride
            mask[tuple(np.rint(where).astype(int))] = True
        kidneys[side] = mask
    return affine, kidneys


def _strided(labels: LabelMap, stride: list[int]) -> NDArray[Any]:
    a, b, c = stride
    return labels.voxels[::a, ::b, ::c]


def _look_up(
    template: LabelMap,
    warp: registration.Warp,
    patient: LabelMap,
    steps: list[int],
    blocks: list[int],
) -> NDArray[np.uint8]:
    """The template's labels at every `steps`-th voxel of the patient's grid."""
    shape = tuple(-(-n // s) for n, s in zip(patient.shape, steps, strict=True))
    back = registration.inverse(template.affine)
    index_map = registration.apply(back, warp.template_mm).astype(np.float32)
    matrix = [1 / b for b in blocks]
    inside = np.ones(shape, dtype=bool)
    index = []
    for axis in range(3):
        fine = ndimage.affine_transform(
            np.ascontiguousarray(index_map[..., axis]), matrix, 0.0, shape, np.float32,
            order=1, mode="nearest",
        )  # fmt: skip
        # Six decimals: a tie must fall the same way however the last bit is.
        whole = np.floor(np.round(fine, 4) + 0.5).astype(np.int32)
        inside &= (whole >= 0) & (whole < template.shape[axis])
        index.append(np.clip(whole, 0, template.shape[axis] - 1))
    found: NDArray[np.uint8] = template.voxels[tuple(index)].astype(np.uint8)
    found[~inside] = 0
    return found


def _kidney_dice(
    sampled: LabelMap, grid: Volume, outlines: Mapping[str, NDArray[np.bool_]], sides: list[str]
) -> dict[str, float]:
    carried = kidney_regions(regrid(sampled, grid))
    dice = {}
    for side in sides:
        there = carried.get(side, np.zeros(grid.shape, dtype=bool))
        both = int(there.sum()) + int(outlines[side].sum())
        dice[side] = round(2 * int((there & outlines[side]).sum()) / both, 4)
    return dice


def _repeat(
    sampled: NDArray[np.uint8], steps: list[int], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Each sample as the block of voxels around it."""
    index = [
        np.minimum((np.arange(n) + (s - 1) // 2) // s, m - 1)
        for n, s, m in zip(shape, steps, sampled.shape, strict=True)
    ]
    return np.asarray(sampled[np.ix_(*index)])
