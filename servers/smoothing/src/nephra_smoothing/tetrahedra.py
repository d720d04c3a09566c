"""The cells of a grid cut into tetrahedra (Freudenthal 1942); corners are numbered by bits."""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray


@cache
def hangs_together() -> NDArray[np.bool_]:
    """(256,) whether a set of corners, one bit each, and its rest are connected along edges."""

    def connected(corners: set[int]) -> bool:
        reached = set(list(corners)[:1])
        while more := {c ^ e for c in reached for e in (1, 2, 4)} & corners - reached:
            reached |= more
        return reached == corners

    sets = ({c for c in range(8) if bits >> c & 1} for bits in range(256))
    return np.array([connected(s) and connected(set(range(8)) - s) for s in sets])


@cache
def tetrahedra() -> tuple[tuple[int, ...], ...]:
    """The six paths along edges from corner 0 to corner 7."""
    ways = permutations((1, 2, 4))
    return tuple((0, a, a | b, 7) for a, b, _ in ways)


@cache
def ring_around(way: int) -> tuple[tuple[int, int], ...]:
    """The tetrahedra around the edge from a voxel to its neighbour `way`.

    Returns:
        Counter-clockwise seen from the neighbour: (corner of the cell that the voxel is,
        number of the tetrahedron).
    """
    along = corner_at(way) / np.linalg.norm(corner_at(way))
    first = np.cross(along, (0.36, 0.48, 0.8))
    second = np.cross(along, first)
    found = []
    for corner, (number, tetrahedron) in product(range(8), enumerate(tetrahedra())):
        if corner & way or not {corner, corner | way} <= set(tetrahedron):
            continue
        centre = np.mean([corner_at(c) for c in tetrahedron], axis=0) - corner_at(corner)
        found.append((np.arctan2(centre @ second, centre @ first), corner, number))
    return tuple((corner, number) for _, corner, number in sorted(found))


def corner_at(bits: int) -> NDArray[np.float64]:
    """A corner of a cell, or a way between corners: one bit per axis."""
    return np.array([bits & 1, bits >> 1 & 1, bits >> 2 & 1], dtype=np.float64)
