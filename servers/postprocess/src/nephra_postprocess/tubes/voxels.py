"""Lists of voxels, found without a copy of the volume."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap


def voxels_of(labels: LabelMap, wanted: Iterable[int]) -> NDArray[np.int32]:
    """(N, 3) indices in C order of all voxels of some labels; a slab at a time."""
    table = np.zeros(int(np.iinfo(np.uint16).max) + 1, dtype=bool)
    table[list(wanted)] = True
    along = int(np.argmax(np.abs(labels.voxels.strides)))
    others = [a for a in range(3) if a != along]
    found = []
    for index, slab in enumerate(np.moveaxis(labels.voxels, along, 0)):
        # Looked through as it lies in memory, whatever the order of its axes.
        turned = abs(slab.strides[0]) < abs(slab.strides[1])
        values = slab.ravel(order="K")
        filled = np.flatnonzero(values != 0)
        filled = filled[table[values[filled]]]
        if filled.size:
            part = np.empty((filled.size, 3), dtype=np.int32)
            slow, fast = np.divmod(filled, slab.shape[0] if turned else slab.shape[1])
            part[:, along] = index
            part[:, others[0]], part[:, others[1]] = (fast, slow) if turned else (slow, fast)
            found.append(part)
    if not found:
        return np.zeros((0, 3), dtype=np.int32)
    indices = np.concatenate(found)
    return np.asarray(indices[np.argsort(flat(indices, labels.shape), kind="stable")])


def flat(indices: NDArray[np.integer], shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """(N,) places of voxels in a C-ordered volume."""
    rows = indices[:, 0].astype(np.int64) * shape[1] + indices[:, 1]
    return np.asarray(rows * shape[2] + indices[:, 2])
