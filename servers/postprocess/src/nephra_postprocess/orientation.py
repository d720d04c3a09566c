"""One way of lying for every grid, so that results do not depend on how axes are stored.

Operations work on a view whose axes run as close as they can towards the patient's right,
front and head (RAS), and write back through the same view. All 48 stored orders of one grid
give bit-identical views, hence identical results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap, Volume


@dataclass(frozen=True)
class Orientation:
    """How stored axes become right, front, head.

    Args:
        order: order[a] is the stored axis that runs along patient axis a (0 x, 1 y, 2 z).
        flipped: flipped[a]: that axis is stored from right to left, front to back, ….
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """The orientation of a grid: each stored axis goes to the patient axis it is nearest."""
        directions = volume.affine[:3, :3] / np.asarray(volume.spacing_mm)
        left = np.abs(directions)
        order, flipped = [0, 0, 0], [False, False, False]
        for _ in range(3):
            patient, stored = divmod(int(np.argmax(left)), 3)
            order[patient] = stored
            flipped[patient] = bool(directions[patient, stored] < 0)
            left[patient, :] = -1.0
            left[:, stored] = -1.0
        return cls((order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2]))

    def view(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """The same memory, (I, J, K) as stored → (X, Y, Z) along right, front, head."""
        steps = tuple(slice(None, None, -1 if f else 1) for f in self.flipped)
        return voxels.transpose(self.order)[steps]

    def affine(self, volume: Volume) -> NDArray[np.float64]:
        """(4, 4) indices of the view → RAS+ mm.

        The origin is rounded to 1e-6 mm: it comes from sums that differ in their last bit
        between storage orders, and would turn ties of nearest neighbours over.
        """
        affine = np.eye(4)
        origin = volume.affine[:3, 3].copy()
        for patient, (stored, flipped) in enumerate(zip(self.order, self.flipped, strict=True)):
            step = volume.affine[:3, stored]
            affine[:3, patient] = -step if flipped else step
            if flipped:
                origin = origin + step * (volume.shape[stored] - 1)
        affine[:3, 3] = np.round(origin, 6)
        # The directions, too, may come from products with permutations: -0.0 and last bits.
        affine[:3, :3] = np.round(affine[:3, :3], 12) + 0.0
        return affine


def canonical(labels: LabelMap) -> LabelMap:
    """A view of a label map with axes along right, front, head; shares its memory."""
    orientation = Orientation.of(labels)
    return LabelMap(orientation.view(labels.voxels), orientation.affine(labels))


def canonical_volume(volume: Volume) -> Volume:
    """As `canonical`, for any volume."""
    orientation = Orientation.of(volume)
    return Volume(orientation.view(volume.voxels), orientation.affine(volume))


def stored_copy(labels: LabelMap) -> tuple[LabelMap, NDArray[Any]]:
    """A copy of a label map, and the canonical view of the copy's voxels to write into."""
    copied = labels.like(labels.voxels.copy(order="K"))
    return copied, Orientation.of(labels).view(copied.voxels)
