"""Smooth maps from a patient to a template on a lattice: blended, bent, checked, inverted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.merge import regrid
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess.atlas.outlines import Outlines
from nephra_postprocess.atlas.registration import Affine, Points, apply, inverse

#: Below it a map is as good as folded.
JACOBIAN_FLOOR = 0.05
#: (reach of a kidney's own affine in mm, share of the common one), tried until nothing folds.
_SOFTENING = ((25.0, 0.0), (40.0, 0.0), (40.0, 0.25), (60.0, 0.5), (60.0, 0.75), (60.0, 1.0))
_NEWTON_ROUNDS = 12
_NEWTON_STEP_MM = 15.0


@dataclass(frozen=True)
class Warp:
    """Where each point of the patient comes from in the template.

    Args:
        lattice: (4, 4) lattice index → patient mm.
        common: (4, 4) patient mm → template mm, of all that is far from the kidneys.
        bend_mm: (X, Y, Z, 3) float32 at each node what is added to `common`; beyond the
            lattice the nearest node's.
    """

    lattice: Affine
    common: Affine
    bend_mm: NDArray[np.float32]

    @cached_property
    def nodes_mm(self) -> NDArray[np.float32]:
        """(X, Y, Z, 3) patient mm of the nodes."""
        return nodes_mm(Volume(self.bend_mm[..., 0], self.lattice))

    def pull(self, patient_mm: NDArray[Any]) -> Points:
        """(..., 3) patient mm → template mm."""
        index = np.moveaxis(apply(inverse(self.lattice), patient_mm), -1, 0)
        bend = [
            ndimage.map_coordinates(self.bend_mm[..., a], index, order=1, mode="nearest")
            for a in range(3)
        ]
        return np.asarray(apply(self.common, patient_mm) + np.stack(bend, axis=-1))

    def push(self, template_mm: Points) -> Points:
        """(N, 3) template mm → patient mm, by Newton's method."""
        found = apply(inverse(self.common), template_mm)
        for _ in range(_NEWTON_ROUNDS):
            missed = template_mm - self.pull(found)
            if np.abs(missed).max(initial=0) < 0.01:
                break
            step = np.linalg.solve(self._derivative(found), missed[..., None])[..., 0]
            length = np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9)
            found = found + step * np.minimum(1.0, _NEWTON_STEP_MM / length)
        return found

    def scale(self, patient_mm: Points) -> NDArray[np.float64]:
        """(N,) how much larger things are in the patient than in the template, in length."""
        shrink = np.abs(np.linalg.det(self._derivative(patient_mm)))
        return np.asarray(np.clip(shrink, 1e-3, None) ** (-1 / 3))

    @cached_property
    def jacobian_min(self) -> float:
        """Smallest determinant of d(template mm) / d(patient mm) at all corners of all cells.

        Above 0 nothing folds.
        """
        mapped = (apply(self.common, self.nodes_mm) + self.bend_mm).astype(np.float32)
        steps = [np.diff(mapped, axis=a) for a in range(3)]
        cells = tuple(n - 1 for n in mapped.shape[:3])
        least = np.inf
        for corner in product((0, 1), repeat=3):
            edges = []
            for axis, step in enumerate(steps):
                where = [slice(c, c + n) for c, n in zip(corner, cells, strict=True)]
                where[axis] = slice(0, cells[axis])
                edges.append(step[tuple(where)])
            least = min(least, float(_determinant(*edges).min()))
        return round(least / float(np.linalg.det(self.lattice[:3, :3])), 4)

    def _derivative(self, patient_mm: Points) -> NDArray[np.float64]:
        """(N, 3, 3) d(template) / d(patient) by differences over 2 mm."""
        columns = [
            (self.pull(patient_mm + step) - self.pull(patient_mm - step)) / 2.0
            for step in np.eye(3)
        ]
        return np.stack(columns, axis=-1)


def nodes_mm(grid: Volume) -> NDArray[np.float32]:
    """(X, Y, Z, 3) float32 RAS+ mm of a grid's nodes."""
    i, j, k = (
        (np.arange(n)[:, None] * grid.affine[:3, a]).astype(np.float32)
        for a, n in enumerate(grid.shape)
    )
    origin = grid.affine[:3, 3].astype(np.float32)
    return np.asarray(i[:, None, None] + j[None, :, None] + (k + origin)[None, None])


def blend(patient: Outlines, pulls: Mapping[str, Affine], common: Affine, lattice: Volume) -> Warp:
    """Blend the kidneys' affines by the distance from each, and check that nothing folds.

    Args:
        patient: its kidneys.
        pulls: by side, (4, 4) patient mm → template mm.
        common: (4, 4) the same, for what is far from all kidneys.
        lattice: its nodes; without values.
    """
    spacing = tuple(lattice.spacing_mm)
    distances_mm = {
        s: edt.edt(~_on(lattice, patient, s), anisotropy=spacing).astype(np.float32) for s in pulls
    }
    warp = Warp(lattice.affine, common, np.zeros((*lattice.shape, 3), np.float32))
    points = warp.nodes_mm
    for reach_mm, softness in _SOFTENING:
        soft = {s: (1 - softness) * (a - common) for s, a in pulls.items()}
        warp = replace(warp, bend_mm=_mixed(points, distances_mm, soft, reach_mm))
        if warp.jacobian_min > JACOBIAN_FLOOR:
            break
    return warp


def bent(warp: Warp, shifts_mm: list[tuple[Affine, NDArray[np.float32]]]) -> Warp:
    """A warp after a small deformation of the patient: x → warp(x + shift(x)).

    Where it would fold, the deformation is taken back as far as needed.

    Args:
        warp: the map that is bent.
        shifts_mm: grids (4, 4) index → patient mm, and on each (X, Y, Z, 3) a shift that is 0
            at its border.
    """
    points = warp.nodes_mm
    shift = np.zeros(points.shape, np.float32)
    for affine, field in shifts_mm:
        index = np.moveaxis(apply(inverse(affine), points), -1, 0)
        for axis in range(3):
            shift[..., axis] += ndimage.map_coordinates(field[..., axis], index, order=1, cval=0.0)
    for share in (1.0, 0.75, 0.5, 0.25):
        moved = warp.pull(points + share * shift) - apply(warp.common, points)
        found = replace(warp, bend_mm=moved.astype(np.float32))
        if found.jacobian_min > min(JACOBIAN_FLOOR, 0.9 * warp.jacobian_min):
            return found
    return warp


def _on(lattice: Volume, patient: Outlines, side: str) -> NDArray[np.bool_]:
    """(X, Y, Z) where a kidney is on a lattice; at least one node."""
    mask = patient.filled[side]
    found = regrid(LabelMap(mask.view(np.uint8), patient.grid.affine), lattice).voxels > 0
    if not found.any():
        middle = apply(inverse(lattice.affine), patient.points(side).mean(axis=0))
        index = np.clip(np.rint(middle).astype(int), 0, np.array(lattice.shape) - 1)
        found[tuple(index)] = True
    return np.asarray(found)


def _mixed(
    points: NDArray[np.float32],
    distances_mm: Mapping[str, NDArray[np.float32]],
    pulls: Mapping[str, Affine],
    reach_mm: float,
) -> NDArray[np.float32]:
    """What each kidney's affine adds to the common one, weighted by how near it is."""
    far = np.ones(points.shape[:3], dtype=np.float32)
    total = np.zeros(points.shape[:3], dtype=np.float32)
    mixed = np.zeros(points.shape, dtype=np.float32)
    for side, extra in pulls.items():
        near = np.exp(-((distances_mm[side] / reach_mm) ** 2)).astype(np.float32)
        far *= 1 - near
        total += near
        mixed += near[..., None] * apply(extra, points)
    return np.asarray(mixed / (total + far)[..., None])


def _determinant(
    a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(...) determinants of (..., 3) edges."""
    return np.asarray(
        a[..., 0] * (b[..., 1] * c[..., 2] - b[..., 2] * c[..., 1])
        + a[..., 1] * (b[..., 2] * c[..., 0] - b[..., 0] * c[..., 2])
        + a[..., 2] * (b[..., 0] * c[..., 1] - b[..., 1] * c[..., 0])
    )
