"""The same volume, stored in every order and direction of its axes."""

from __future__ import annotations

from itertools import permutations, product
from typing import TypeVar

import numpy as np

from nephra_contract.volume import Volume

V = TypeVar("V", bound=Volume)

#: (order of the axes, which are reversed): 6 x 8 = 48.
Orientation = tuple[tuple[int, int, int], tuple[bool, bool, bool]]

ORIENTATIONS: tuple[Orientation, ...] = tuple(
    ((p[0], p[1], p[2]), (f[0], f[1], f[2]))
    for p in permutations(range(3))
    for f in product((False, True), repeat=3)
)


def reorient(volume: V, orientation: Orientation) -> V:
    """Store the same values at the same places in the patient, with other axes."""
    order, reversed_axes = orientation
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, old in enumerate(order):
        length = volume.shape[old]
        matrix[old, new] = -1 if reversed_axes[new] else 1
        matrix[old, 3] = length - 1 if reversed_axes[new] else 0
    steps = tuple(slice(None, None, -1 if r else 1) for r in reversed_axes)
    voxels = np.ascontiguousarray(volume.voxels.transpose(order)[steps])
    return type(volume)(voxels, volume.affine @ matrix)


def restore(volume: V, orientation: Orientation) -> V:
    """Undo `reorient`."""
    order, reversed_axes = orientation
    inverse = tuple(int(i) for i in np.argsort(order))
    steps = tuple(slice(None, None, -1 if r else 1) for r in reversed_axes)
    voxels = np.ascontiguousarray(volume.voxels[steps].transpose(inverse))
    identity = type(volume)(np.zeros(voxels.shape, np.uint8), np.eye(4))
    step = reorient(identity, orientation).affine
    return type(volume)(voxels, volume.affine @ np.linalg.inv(step))
