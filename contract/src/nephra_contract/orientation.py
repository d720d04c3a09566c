"""One way of lying for every grid, so that results do not depend on how axes are stored.

Operations work on a view whose axes run as close as they can towards the patient's right,
front and head (RAS), and write back through the same view. All 48 stored orders of one grid
give bit-identical views, hence identical results.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap, Volume

V = TypeVar("V", bound=Volume)


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
        directions = np.round(volume.affine[:3, :3] / np.asarray(volume.spacing_mm), 9)

        def nearness(order: tuple[int, ...]) -> tuple[float, ...]:
            turned = directions[:, order]
            turned = turned * np.where(np.diagonal(turned) < 0, -1.0, 1.0)
            # Of equals, at 45 degrees, the directions themselves decide, not how they are stored.
            return round(float(np.trace(turned)), 6), *turned.ravel().tolist()

        a, b, c = max(permutations(range(3)), key=nearness)
        x, y, z = (bool(directions[p, s] < 0) for p, s in enumerate((a, b, c)))
        return cls((a, b, c), (x, y, z))

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
        affine[:3, 3] = np.round(origin, 6) + 0.0
        # The directions, too, may come from products with permutations: -0.0 and last bits.
        affine[:3, :3] = np.round(affine[:3, :3], 12) + 0.0
        return affine


def canonical(volume: V) -> V:
    """A view of a volume with axes along right, front, head; shares its memory."""
    orientation = Orientation.of(volume)
    return type(volume)(orientation.view(volume.voxels), orientation.affine(volume))


def stored_copy(labels: LabelMap) -> tuple[LabelMap, NDArray[Any]]:
    """A copy of a label map, and the canonical view of the copy's voxels to write into."""
    copied = labels.like(labels.voxels.copy(order="K"))
    return copied, Orientation.of(labels).view(copied.voxels)
