"""A template carried to a patient's kidneys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess.atlas import bypasses, deformation, registration, warp
from nephra_postprocess.atlas.lines import draw
from nephra_postprocess.atlas.outlines import Masks, Outlines, dice
from nephra_postprocess.atlas.registration import apply, inverse
from nephra_postprocess.atlas.template import Template
from nephra_postprocess.atlas.warp import Warp, nodes_mm
from nephra_postprocess.coarse import SIDES
from nephra_postprocess.region import present

Quality = Literal["fast", "high"]
#: Labels that say the same of a patient: where the patient's mask has one, the template's go.
_FAMILIES = (names.KIDNEYS, (names.TUMOR,), names.CYSTS, names.URETERS)
_LATTICE_MM = 4.5
#: The lattice reaches this many nodes beyond the patient's grid.
_MARGIN = 2


@dataclass(frozen=True)
class Fit:
    """A template laid over a patient's kidneys.

    Args:
        warp: patient mm → template mm.
        kidney_dice: by side, of the template's kidney as it is carried, before anything is
            pasted, and the patient's kidney with its lesions.
        outline_dice: the same with both sinuses closed.
    """

    warp: Warp
    kidney_dice: dict[str, float]
    outline_dice: dict[str, float]


@dataclass(frozen=True)
class Sampling:
    """Where the template is looked up: every n-th voxel of the patient's grid.

    Args:
        steps: voxels from one to the next, along x, y, z.
        blocks: of these from one node of the lattice to the next.
        shape: how many there are.
    """

    steps: tuple[int, ...]
    blocks: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, patient: Volume, sample_mm: float) -> Sampling:
        """About `sample_mm` apart."""
        steps = tuple(max(1, round(sample_mm / s)) for s in patient.spacing_mm)
        blocks = tuple(
            max(1, round(_LATTICE_MM / (s * n)))
            for s, n in zip(patient.spacing_mm, steps, strict=True)
        )
        shape = tuple(-(-n // s) for n, s in zip(patient.shape, steps, strict=True))
        return cls(steps, blocks, shape)

    def lattice(self, patient: Volume) -> Volume:
        """The lattice's nodes, without values: the grid and a margin around it."""
        stride = [n * b for n, b in zip(self.steps, self.blocks, strict=True)]
        shape = tuple(
            -(-(n - 1) // s) + 1 + 2 * _MARGIN for n, s in zip(patient.shape, stride, strict=True)
        )
        affine = patient.affine @ np.diag([*map(float, stride), 1.0])
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, float(_MARGIN))
        return Volume(np.broadcast_to(np.zeros(1, np.uint8), shape), affine)


def lay(
    patient: Outlines,
    template: Template,
    lattice: Volume,
    quality: Quality,
    on_stage: Callable[[float, str], None],
) -> Fit:
    """Lay a template over a patient's kidneys.

    Args:
        patient: its kidneys; at least one on a side that the template has.
        template: what is carried.
        lattice: over the patient's grid.
        quality: `fast`: one affine per kidney, blended; `high`: then bent to its shape.
        on_stage: told the share that is done.
    """
    model = template.outlines
    sides = [s for s in SIDES if s in patient.plain and s in model.plain]
    moving = {s: model.points(s) for s in sides}
    pushes = {s: registration.fit_affine(moving[s], patient.points(s)) for s in sides}
    common = registration.fit_common([(pushes[s], moving[s]) for s in sides])
    on_stage(0.2, "blending the kidneys' affine maps")
    found = warp.blend(
        patient, {s: inverse(a) for s, a in pushes.items()}, inverse(common), lattice
    )
    if quality == "high":
        shifts = []
        for number, side in enumerate(sides):
            on_stage(0.3 + 0.3 * number, "bending the template's kidneys")
            shifts.append(deformation.bend(patient, model, found, side))
        found = warp.bent(found, shifts)
    return Fit(
        found,
        _overlap(patient.grid, patient.plain, model.grid, model.plain, found, sides),
        _overlap(patient.grid, patient.filled, model.grid, model.filled, found, sides),
    )


def paste(
    patient: LabelMap, template: Template, fit: Fit, sampling: Sampling, onto: NDArray[Any]
) -> None:
    """Write the carried template under the patient's own voxels.

    Structures that the patient's mask has come from it alone; where the template's would
    stick out, its fat is put in their place, if it has any.

    Args:
        patient: axes along right, front, head.
        template: what is carried.
        fit: how.
        sampling: where it is looked up.
        onto: (X, Y, Z) the result, on the patient's grid.
    """
    own = present(patient.voxels)
    gone = own | {n for family in _FAMILIES if own & set(family) for n in family}
    table = np.arange(256, dtype=np.uint8)
    has_fat = names.PERIRENAL_FAT in present(template.labels.voxels)
    fat = names.PERIRENAL_FAT if has_fat and names.PERIRENAL_FAT not in gone else 0
    for number in gone:
        table[number] = fat
    found = table[_look_up(template.labels, fit.warp, sampling)]
    _spread(found, sampling, patient.voxels, onto)
    lines = template.lines.without(gone).carried(fit.warp)
    draw(bypasses.lead_around(lines, patient), onto, patient)


def _look_up(template: LabelMap, found: Warp, sampling: Sampling) -> NDArray[np.uint8]:
    """The template's labels at every sample: linear between the lattice's nodes, plane by plane."""
    there_mm = apply(found.common, found.nodes_mm) + found.bend_mm
    index = apply(inverse(template.affine), there_mm).astype(np.float32)
    out = np.zeros(sampling.shape, dtype=np.uint8)
    axes = [
        _Between.of(n, b, m)
        for n, b, m in zip(sampling.shape, sampling.blocks, index.shape[:3], strict=True)
    ]
    last = np.array(template.shape) - 1
    for k in range(sampling.shape[2]):
        plane = axes[2].at(index, slice(k, k + 1), 2)[:, :, 0]
        part = _inside(plane, axes, last)
        if part is None:
            continue
        where, within = [], None
        for axis in range(3):
            coarse = axes[0].at(np.ascontiguousarray(plane[..., axis]), part[0], 0)
            # A hair beyond one half: a tie falls the same way however the last bit is.
            fine = axes[1].at(coarse, part[1], 1) + np.float32(0.500123)
            there = (fine >= 0) & (fine < last[axis] + 1)
            within = there if within is None else within & there
            where.append(np.clip(fine, 0, last[axis]).astype(np.int32))
        out[part[0], part[1], k] = template.voxels[tuple(where)] * within
    return out


@dataclass(frozen=True)
class _Between:
    """Where samples lie between the nodes along one axis.

    Args:
        low: (N,) the node before each sample.
        share: (N,) how far towards the next one.
    """

    low: NDArray[np.intp]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, samples: int, block: int, nodes: int) -> _Between:
        place = np.arange(samples) / block + _MARGIN
        low = np.minimum(place.astype(np.intp), nodes - 2)
        return cls(low, (place - low).astype(np.float32))

    def at(self, values: NDArray[np.float32], part: slice, axis: int) -> NDArray[np.float32]:
        """Values at some samples, from those at the nodes along an axis."""
        low = self.low[part]
        share = self.share[part].reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        first = values.take(low, axis)
        return np.asarray(first + share * (values.take(low + 1, axis) - first))

    def near(self, nodes: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The samples beside any of some nodes."""
        return np.flatnonzero(nodes[self.low] | nodes[self.low + 1])


def _inside(
    plane: NDArray[np.float32], axes: list[_Between], last: NDArray[np.int_]
) -> tuple[slice, slice] | None:
    """Rows and columns of samples whose nodes may lie within the template."""
    near = ((plane > -1) & (plane < last + 1)).all(axis=-1)
    # A cell whose corners lie on both sides of the template's border has one within, or so near.
    near = ndimage.binary_dilation(near, np.ones((3, 3), dtype=bool))
    rows, columns = axes[0].near(near.any(axis=1)), axes[1].near(near.any(axis=0))
    if not rows.size or not columns.size:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _spread(
    found: NDArray[np.uint8], sampling: Sampling, patient: NDArray[Any], onto: NDArray[Any]
) -> None:
    """Each sample as the block of voxels around it, where the patient has nothing."""
    order = sorted(range(3), key=lambda a: -abs(patient.strides[a]))
    index = [
        np.minimum((np.arange(n) + (s - 1) // 2) // s, m - 1)
        for n, s, m in zip(patient.shape, sampling.steps, found.shape, strict=True)
    ]
    slow, rows, columns = (index[a] for a in order)
    source, own, target = (v.transpose(order) for v in (found, patient, onto))
    last, plane = -1, np.zeros((0, 0), dtype=np.uint8)
    for place, sample in enumerate(slow.tolist()):
        if sample != last:
            last, plane = sample, source[sample][rows][:, columns]
        np.add(own[place], plane * (own[place] == 0), out=target[place], casting="unsafe")


def _overlap(
    grid: Volume, patient: Masks, model_grid: Volume, model: Masks, found: Warp, sides: list[str]
) -> dict[str, float]:
    """By side, Dice of a template's mask, carried, and the patient's, on the patient's grid."""
    overlap = {}
    for side in sides:
        box = _around(patient[side])
        points = nodes_mm(grid.crop(box))
        index = np.floor(apply(inverse(model_grid.affine), found.pull(points)) + 0.500123)
        index = index.astype(int)
        within = ((index >= 0) & (index < model_grid.shape)).all(axis=-1)
        index[~within] = 0
        carried = model[side][tuple(np.moveaxis(index, -1, 0))] & within
        overlap[side] = dice(carried, patient[side][box])
    return overlap


def _around(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """A mask's box with all the room that its grid has for a kidney that is carried too far."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    room = 12
    a, b, c = (
        slice(max(s.start - room, 0), min(s.stop + room, n))
        for s, n in zip(box, mask.shape, strict=True)
    )
    return a, b, c
