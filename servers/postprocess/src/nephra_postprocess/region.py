"""The part of a volume that a step needs, found without a copy of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap, Volume

Box = tuple[slice, slice, slice]


def present(voxels: NDArray[Any]) -> set[int]:
    """The labels that a label array holds, without 0; slab by slab."""
    seen = np.zeros(65536, dtype=bool)
    for slab in _slabs(voxels):
        seen[slab] = True
    return set(np.flatnonzero(seen).tolist()) - {0}


def box_of(labels: LabelMap, wanted: Iterable[int], margin_mm: float = 0.0) -> Box | None:
    """The smallest box that holds all voxels of some labels, widened by a margin.

    Args:
        labels: (I, J, K).
        wanted: the labels.
        margin_mm: what the box is widened by on each side, as far as the grid reaches.

    Returns:
        Slices, or None if there is no such voxel.
    """
    table = _table(wanted)
    along = _slow_axis(labels.voxels)
    others = [a for a in range(3) if a != along]
    hits = [np.zeros(n, dtype=bool) for n in labels.shape]
    for index, slab in enumerate(_slabs(labels.voxels)):
        inside = table[slab]
        if inside.any():
            hits[along][index] = True
            hits[others[0]] |= inside.any(axis=1)
            hits[others[1]] |= inside.any(axis=0)
    if not hits[0].any():
        return None
    return _span(hits, [int(np.ceil(margin_mm / s)) for s in labels.spacing_mm])


def shift(box: Box, by: Box) -> Box:
    """A box within a crop, as a box of what was cropped by `by`."""
    a, b, c = (
        slice(inner.start + outer.start, inner.stop + outer.start)
        for inner, outer in zip(box, by, strict=True)
    )
    return a, b, c


def compact(volume: LabelMap, box: Box) -> LabelMap:
    """A contiguous copy of the part of a label map within a box."""
    part = volume.crop(box)
    return part.like(np.ascontiguousarray(part.voxels))


def local_frame(volume: Volume) -> NDArray[np.float64]:
    """(4, 4) voxel → mm in patient axes, with the first voxel at the origin.

    What is measured in it does not change by rounding when the grid is stored otherwise.
    """
    affine = volume.affine.copy()
    affine[:3, 3] = 0.0
    return affine


def _slabs(voxels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    # Views: `take` would copy the whole of an array with reversed axes for every slab.
    return iter(np.moveaxis(voxels, _slow_axis(voxels), 0))


def _slow_axis(voxels: NDArray[Any]) -> int:
    return int(np.argmax(np.abs(voxels.strides)))


def _table(wanted: Iterable[int]) -> NDArray[np.bool_]:
    table = np.zeros(65536, dtype=bool)
    table[list(wanted)] = True
    return table


def _span(hits: list[NDArray[np.bool_]], margins: list[int]) -> Box:
    spans = []
    for hit, margin in zip(hits, margins, strict=True):
        where = np.flatnonzero(hit)
        spans.append(
            slice(max(int(where[0]) - margin, 0), min(int(where[-1]) + 1 + margin, hit.size))
        )
    return spans[0], spans[1], spans[2]
