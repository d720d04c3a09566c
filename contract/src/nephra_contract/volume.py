"""Voxels that travel with their affine. World space is RAS+ millimetres, always."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import GeometryRefused

#: Direction cosines closer to orthonormal than this are repaired; beyond it refused.
ORTHONORMAL_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Volume:
    """A grid of values in patient space.

    Args:
        voxels: (I, J, K) array, any real dtype.
        affine: (4, 4) float64, voxel indices → RAS+ mm, invertible.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", np.asarray(self.affine, dtype=np.float64))
        if self.voxels.ndim != 3:
            raise ValueError(f"a volume has three axes, not {self.voxels.ndim}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(I, J, K)."""
        i, j, k = self.voxels.shape
        return i, j, k

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each stored axis, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @cached_property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel: the determinant, right for sheared grids too."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def like(self, voxels: NDArray[Any]) -> Self:
        """Other voxels on the same grid."""
        return type(self)(voxels, self.affine)

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-3) -> bool:
        """Whether both have one shape, and corners within `tolerance_mm` of each other."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(corners(self) - corners(other)).max() <= tolerance_mm)

    def to_world(self, indices: NDArray[Any]) -> NDArray[np.float64]:
        """(N, 3) voxel indices → (N, 3) RAS+ mm."""
        return np.asarray(indices @ self.affine[:3, :3].T + self.affine[:3, 3], dtype=np.float64)

    def crop(self, box: tuple[slice, slice, slice]) -> Self:
        """The part within `box` (non-negative starts, unit steps), its affine shifted along."""
        affine = self.affine.copy()
        start = np.array([s.start or 0 for s in box], dtype=np.float64)
        affine[:3, 3] += affine[:3, :3] @ start
        return type(self)(self.voxels[box], affine)


@dataclass(frozen=True, eq=False)
class LabelMap(Volume):
    """An integer volume whose numbers mean what nephra's label table says; 0 is nothing.

    Args:
        voxels: (I, J, K) unsigned integers.
        affine: (4, 4) voxel → RAS+ mm.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.issubdtype(self.voxels.dtype, np.integer):
            raise ValueError(f"a label map holds integers, not {self.voxels.dtype}")

    @cached_property
    def counts(self) -> dict[int, int]:
        """Voxels per label that is present, without 0, in ascending order."""
        if self.voxels.size == 0:
            return {}
        counts = np.zeros(int(self.voxels.max()) + 1, dtype=np.int64)
        flat = self.voxels.ravel(order="K")
        # bincount makes 8 bytes of every voxel; in pieces that stays small.
        for start in range(0, flat.size, 1 << 22):
            counts += np.bincount(flat[start : start + (1 << 22)], minlength=counts.size)
        return {int(n): int(counts[n]) for n in np.flatnonzero(counts) if n}

    @property
    def present(self) -> tuple[int, ...]:
        """The labels that have voxels, without 0, ascending."""
        return tuple(self.counts)

    def volumes_ml(self) -> dict[int, float]:
        """Volume of each present label in millilitres."""
        return {n: count * self.voxel_volume_mm3 / 1000 for n, count in self.counts.items()}

    def mask(self, labels: Iterable[int]) -> NDArray[np.bool_]:
        """(I, J, K) bool: where any of `labels` is. One pass, by a look-up table."""
        wanted = np.zeros(int(self.voxels.max(initial=0)) + 1, dtype=bool)
        for label in labels:
            if 0 <= label < wanted.size:
                wanted[label] = True
        return np.asarray(wanted[self.voxels])


def corners(volume: Volume) -> NDArray[np.float64]:
    """(8, 3) world positions in mm of the centres of the grid's corner voxels."""
    last = np.array(volume.shape, dtype=np.float64) - 1
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, 8).T
    return volume.to_world(unit * last)


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds all true voxels, widened by `margin`, or None if none is."""
    spans: list[slice] = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if hits.size == 0:
            return None
        start = max(int(hits[0]) - margin, 0)
        spans.append(slice(start, min(int(hits[-1]) + 1 + margin, mask.shape[axis])))
    return spans[0], spans[1], spans[2]


def check_affine(affine: NDArray[np.float64]) -> None:
    """Refuse what maps no grid into a patient.

    Raises:
        GeometryRefused: not finite, zero spacing, or singular.
    """
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    if not np.isfinite(affine).all():
        raise GeometryRefused(
            "The affine holds values that are not numbers.",
            "Write the file again with a valid sform or qform.",
            code="affine_not_finite",
        )
    spacing = np.linalg.norm(linear, axis=0)
    if (spacing < 1e-4).any():
        raise GeometryRefused(
            f"The voxel spacing is {_triple(spacing)} mm; none may be zero.",
            "Write the file again with the true spacing.",
            code="spacing_zero",
        )
    if abs(np.linalg.det(linear / spacing)) < 1e-3:
        raise GeometryRefused(
            "The affine is singular: its three axes lie in one plane.",
            "Write the file again with a valid sform or qform.",
            code="affine_singular",
        )


def orthonormal(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine with exactly orthonormal directions, if they nearly are.

    The nearest rotation is the polar factor of the direction matrix (Higham 1986).

    Raises:
        GeometryRefused: sheared by more than `ORTHONORMAL_TOLERANCE`.
    """
    check_affine(affine)
    linear = affine[:3, :3]
    spacing = np.linalg.norm(linear, axis=0)
    u, _, vt = np.linalg.svd(linear / spacing)
    deviation = float(np.abs(u @ vt - linear / spacing).max())
    if deviation > ORTHONORMAL_TOLERANCE:
        raise GeometryRefused(
            f"The affine is sheared: its axes are {deviation:.3g} away from right angles, "
            f"{ORTHONORMAL_TOLERANCE:g} is allowed.",
            "Resample the image onto a rectangular grid (a tilted gantry needs correction).",
            code="affine_sheared",
        )
    repaired = affine.copy()
    repaired[:3, :3] = (u @ vt) * spacing
    return repaired


def _triple(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
