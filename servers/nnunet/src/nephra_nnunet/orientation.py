"""From an image's stored axes to the axes that a network takes, and back: views, never copies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.architecture import Triple

_DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True)
class Axes:
    """An order and a direction of the stored axes.

    Args:
        order: for each axis of the view, the stored axis that it is.
        reversed: for each axis of the view, whether it runs against the stored one.
    """

    order: Triple
    reversed: tuple[bool, bool, bool]

    def view(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """(I, J, K) stored → (a, b, c) as the network takes it; writing goes through."""
        turned = voxels.transpose(self.order)
        return turned[tuple(slice(None, None, -1 if r else 1) for r in self.reversed)]

    def then(self, order: Triple) -> Axes:
        """These axes, in another order."""
        a, b, c = order
        return Axes(
            (self.order[a], self.order[b], self.order[c]),
            (self.reversed[a], self.reversed[b], self.reversed[c]),
        )


AS_STORED = Axes((0, 1, 2), (False, False, False))


def check_code(code: str) -> None:
    """Refuse what is no orientation.

    Raises:
        BundleInvalid: not three letters, one of each of R/L, A/P and S/I.
    """
    if sorted(_DIRECTIONS.get(letter, (9, 0))[0] for letter in code) != [0, 1, 2]:
        raise BundleInvalid(
            f"bundle.yaml names the orientation '{code}', which is none.",
            "Name three directions towards which the axes run, such as RAS or LPS.",
        )


def axes_towards(affine: NDArray[np.float64], code: str) -> Axes:
    """The stored axes that run closest towards the directions of `code`, such as `RAS`.

    Args:
        affine: (4, 4) voxel → RAS+ mm, orthogonal.
        code: a direction for each axis of the view.
    """
    check_code(code)
    linear = affine[:3, :3]
    cosines = linear / np.linalg.norm(linear, axis=0)
    wanted = [_DIRECTIONS[letter] for letter in code]
    order = max(
        permutations(range(3)),
        key=lambda o: sum(abs(cosines[w, a]) for a, (w, _) in zip(o, wanted, strict=True)),
    )
    turned = [bool(cosines[w, a] * s < 0) for a, (w, s) in zip(order, wanted, strict=True)]
    return Axes((order[0], order[1], order[2]), (turned[0], turned[1], turned[2]))
