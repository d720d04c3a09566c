"""How far two label maps of one grid agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Agreement:
    """Two label maps held against each other.

    Args:
        voxels: of the grid.
        differ: how many of them carry another label.
        dice: per label that is in one of the two; background is no label.
    """

    voxels: int
    differ: int
    dice: Mapping[int, float]

    @property
    def fraction(self) -> float:
        """The part of the voxels that differ."""
        return self.differ / self.voxels

    @property
    def mean_dice(self) -> float:
        """Over labels; 1 where neither map has any."""
        return float(np.mean(list(self.dice.values()))) if self.dice else 1.0

    @property
    def lowest_dice(self) -> tuple[int, float] | None:
        """The label that agrees least; None where there is none."""
        return min(self.dice.items(), key=lambda item: item[1]) if self.dice else None

    def named(self) -> dict[str, object]:
        """As the report says it."""
        return {
            "voxels": self.voxels,
            "differ": self.differ,
            "fraction": self.fraction,
            "mean_dice": self.mean_dice,
            "lowest_dice": self.lowest_dice,
            "dice": {str(label): value for label, value in self.dice.items()},
        }


def agree(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Agreement:
    """Compare two label maps, of one shape, slice by slice: no mask of a whole map is made.

    Raises:
        ValueError: their shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"maps of the shapes {first.shape} and {second.shape}")
    pairs = np.zeros(65536, dtype=np.int64)
    for one, other in zip(first, second, strict=True):
        both = one.astype(np.uint16).ravel() * 256 + other.ravel()
        pairs += np.bincount(both, minlength=65536)
    table = pairs.reshape(256, 256)
    same = np.diagonal(table)
    sizes = table.sum(axis=0) + table.sum(axis=1)
    labels = [int(n) for n in np.flatnonzero(sizes) if n]
    dice = {n: float(2 * same[n] / sizes[n]) for n in labels}
    return Agreement(int(table.sum()), int(table.sum() - same.sum()), dice)
