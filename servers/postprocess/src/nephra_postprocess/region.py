"""The part of a volume that a step needs, found without a copy of the whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.orientation import Orientation, stored_copy
from nephra_contract.volume import LabelMap, Volume

Box = tuple[slice, slice, slice]
#: Voxels that are copied or left out together.
_PAGE = 4096


def present(voxels: NDArray[Any]) -> set[int]:
    """The labels that a label array holds, without 0; slab by slab."""
    seen = np.zeros(65536, dtype=bool)
    for slab in _slabs(voxels):
        seen[_filled(slab)] = True
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
    runs = _runs(wanted)
    along = _slow_axis(labels.voxels)
    others = [a for a in range(3) if a != along]
    hits = [np.zeros(n, dtype=bool) for n in labels.shape]
    for index, slab in enumerate(_slabs(labels.voxels)):
        inside = _within(slab, runs)
        if inside.any():
            hits[along][index] = True
            hits[others[0]] |= inside.any(axis=1)
            hits[others[1]] |= inside.any(axis=0)
    if not hits[0].any():
        return None
    # Of an oblique or sheared grid an axis has to reach farther than its spacing says.
    per_mm = np.linalg.norm(np.linalg.inv(labels.affine[:3, :3]), axis=1)
    return _span(hits, [int(np.ceil(round(margin_mm * float(n), 6))) for n in per_mm])


def sparse_copy(labels: LabelMap) -> tuple[LabelMap, NDArray[Any]]:
    """`stored_copy`, whose memory grows with what the label map holds, not with its grid.

    Where all is background, nothing is written: pages that nobody writes take no memory.
    """
    block = _block(labels.voxels)
    if block is None or not block.size:
        return stored_copy(labels)
    # Not np.zeros: NumPy asks for huge pages, and one voxel would claim 2 MiB.
    copied = np.frombuffer(mmap.mmap(-1, block.nbytes), dtype=block.dtype)
    for start in range(0, block.size, _PAGE):
        part = block[start : start + _PAGE]
        if part.any():
            copied[start : start + _PAGE] = part
    voxels = np.ndarray(labels.shape, block.dtype, copied, strides=labels.voxels.strides)
    result = labels.like(voxels)
    return result, Orientation.of(labels).view(voxels)


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


def thinned(labels: LabelMap, step_mm: float = 3.0) -> LabelMap:
    """Every n-th voxel of each axis, about `step_mm` apart; no copy."""
    a, b, c = (max(1, int(step_mm / s)) for s in labels.spacing_mm)
    affine = labels.affine @ np.diag([float(a), float(b), float(c), 1.0])
    return LabelMap(labels.voxels[::a, ::b, ::c], affine)


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


def _block(voxels: NDArray[Any]) -> NDArray[Any] | None:
    """(N,) the voxels as they lie in memory, if they are one block of it; no copy."""
    if voxels.flags.c_contiguous or voxels.flags.f_contiguous:
        return voxels.ravel(order="K")
    return None


def _filled(slab: NDArray[Any]) -> NDArray[Any]:
    """The values of a slab, some zeros left out: most of a label map is background."""
    turned = slab if abs(slab.strides[0]) >= abs(slab.strides[1]) else slab.T
    turned = turned[tuple(slice(None, None, -1 if s < 0 else 1) for s in turned.strides)]
    if turned.dtype != np.uint8 or not turned.flags.c_contiguous or turned.size % 8:
        return slab
    words = turned.reshape(-1).view(np.uint64)
    return np.asarray(words[words != 0].view(np.uint8))


def _runs(wanted: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of consecutive labels: first, last."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(wanted)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _within(slab: NDArray[Any], runs: list[tuple[int, int]]) -> NDArray[np.bool_]:
    """Where a slab holds a label of some runs. Comparisons cost less than a look-up table."""
    inside = np.zeros(slab.shape, dtype=bool)
    for first, last in runs:
        inside |= (slab == first) if first == last else (slab >= first) & (slab <= last)
    return inside


def _span(hits: list[NDArray[np.bool_]], margins: list[int]) -> Box:
    spans = []
    for hit, margin in zip(hits, margins, strict=True):
        where = np.flatnonzero(hit)
        spans.append(
            slice(max(int(where[0]) - margin, 0), min(int(where[-1]) + 1 + margin, hit.size))
        )
    return spans[0], spans[1], spans[2]
